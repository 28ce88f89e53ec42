// SPDX-License-Identifier: Apache-2.0
// Every step is at most a change of the text (a prefix, another sign for spaces) and a pattern to cut at.
#include "vibee/model/token/pretokenize.h"

#include <algorithm>

#include "vibee/model/token/gguf_pre.h"
#include "vibee/model/token/py_text.h"
#include "vibee/model/token/utf8.h"

namespace vibee {
namespace {

constexpr const char* kPunctuation = "[\\p{P}!-/:-@\\x{5b}-`{-~]";
// \w of Unicode Technical Standard 18: alphabetic characters, marks, digits, connectors, join controls.
constexpr const char* kWordOrOther =
    "[\\p{L}\\p{Nl}\\p{M}\\p{Nd}\\p{Pc}\\x{200c}\\x{200d}\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}\\x{1f150}-\\x{1f169}"
    "\\x{1f170}-\\x{1f189}]+|"
    "[^\\s\\p{L}\\p{Nl}\\p{M}\\p{Nd}\\p{Pc}\\x{200c}\\x{200d}\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}\\x{1f150}-"
    "\\x{1f169}\\x{1f170}-\\x{1f189}]+";

struct Span {
  size_t begin, end;
  bool match;
};

/// The spans of a text, cut at the matches, as the behaviour joins or drops them.
void behave(SplitBehavior behavior, std::vector<Span>* spans) {
  std::vector<Span> out;
  bool previous = false;
  switch (behavior) {
    case SplitBehavior::isolated: return;
    case SplitBehavior::removed: std::erase_if(*spans, [](const Span& s) { return s.match; }); return;
    case SplitBehavior::contiguous:
      for (const Span& s : *spans) {
        if (!out.empty() && s.match == previous) {
          out.back().end = s.end;
        } else {
          out.push_back(s);
        }
        previous = s.match;
      }
      break;
    case SplitBehavior::merged_with_previous:
      for (const Span& s : *spans) {
        if (s.match && !previous && !out.empty()) {
          out.back().end = s.end;
        } else {
          out.push_back(s);
        }
        previous = s.match;
      }
      break;
    case SplitBehavior::merged_with_next:
      for (auto s = spans->rbegin(); s != spans->rend(); ++s) {
        if (s->match && !previous && !out.empty()) {
          out.back().begin = s->begin;
        } else {
          out.push_back(*s);
        }
        previous = s->match;
      }
      std::reverse(out.begin(), out.end());
      break;
  }
  *spans = std::move(out);
}

}  // namespace

Status PreTokenizer::add(PreTokenizerStep what, std::string pattern) {
  Step step{.what = std::move(what)};
  if (!pattern.empty()) {
    VIBEE_ASSIGN(step.regex, Regex::make(pattern));
  }
  steps_.push_back(std::move(step));
  return {};
}

Result<PreTokenizer> PreTokenizer::make(const std::vector<PreTokenizerStep>& steps) {
  PreTokenizer made;
  for (const PreTokenizerStep& step : steps) {
    PreTokenizerStep plain = step;
    std::string pattern;
    switch (step.kind) {
      case PreTokenizerStep::byte_level:
        if (&step != &steps.back())
          return error(Code::unsupported, "tokenizer: pre-tokenizer ByteLevel is supported only as the last one");
        if (step.use_pattern) pattern = kGpt2Pattern;
        plain.behavior = SplitBehavior::isolated;
        break;
      case PreTokenizerStep::split:
        if (step.pattern.empty()) return error(Code::corrupt, "tokenizer: pre-tokenizer Split has an empty pattern");
        if (step.is_regex) pattern = step.pattern;
        break;
      case PreTokenizerStep::metaspace:
        if (step.pattern.empty()) return error(Code::corrupt, "tokenizer: Metaspace has an empty replacement");
        plain.behavior = SplitBehavior::merged_with_next;
        break;
      case PreTokenizerStep::digits:
        pattern = "\\p{N}";
        plain.behavior = step.use_pattern ? SplitBehavior::isolated : SplitBehavior::contiguous;
        break;
      case PreTokenizerStep::punctuation: pattern = kPunctuation; break;
      case PreTokenizerStep::whitespace:
        pattern = kWordOrOther;
        plain.behavior = SplitBehavior::removed;
        plain.invert = true;
        break;
      case PreTokenizerStep::whitespace_split:
      case PreTokenizerStep::bert:
        pattern = "\\s";
        plain.behavior = SplitBehavior::removed;
        break;
    }
    VIBEE_TRY(made.add(plain, pattern));
    if (step.kind == PreTokenizerStep::bert) {
      VIBEE_TRY(made.add({.kind = PreTokenizerStep::punctuation}, kPunctuation));
    }
  }
  return made;
}

Status PreTokenizer::cut(const Step& step, std::string_view word, std::vector<std::string_view>* out) {
  const PreTokenizerStep& what = step.what;
  const bool plain = what.behavior == SplitBehavior::isolated;
  std::vector<Span> spans;
  size_t done = 0;
  const auto visit = [&](size_t begin, size_t end) {
    if (plain) {
      if (begin > done) out->push_back(word.substr(done, begin - done));
      if (end > begin) out->push_back(word.substr(begin, end - begin));
    } else {
      if (begin > done) spans.push_back({done, begin, what.invert});
      spans.push_back({begin, end, !what.invert});
    }
    done = end;
  };
  if (step.regex) {
    VIBEE_TRY(step.regex->each(word, visit));
  } else {
    for (size_t at = word.find(what.pattern); at != std::string_view::npos; at = word.find(what.pattern, done))
      visit(at, at + what.pattern.size());
  }
  if (done < word.size()) {
    if (plain) {
      out->push_back(word.substr(done));
    } else {
      spans.push_back({done, word.size(), what.invert});
    }
  }
  behave(what.behavior, &spans);
  for (const Span& s : spans) {
    if (s.end > s.begin) out->push_back(word.substr(s.begin, s.end - s.begin));
  }
  return {};
}

void PreTokenizer::put_prefixes(const PreTokenizerStep& step, bool first, Words* words) {
  const bool metaspace = step.kind == PreTokenizerStep::metaspace;
  if (!metaspace && !step.add_prefix_space) return;
  const std::string_view sign = metaspace ? std::string_view(step.pattern) : " ";
  for (std::string_view& word : words->list) {
    std::string changed = metaspace ? py_replace(word, " ", sign, -1) : std::string(word);
    const bool put = !metaspace || step.prepend == PrependScheme::always ||
                     (step.prepend == PrependScheme::first && first && &word == &words->list.front());
    if (put && !changed.starts_with(sign)) changed.insert(0, sign);
    word = words->buffers.emplace_back(std::move(changed));
  }
}

Status PreTokenizer::split(std::string_view text, bool first, Words* words) const {
  words->list.clear();
  words->buffers.clear();
  for (size_t i = 0; i < text.size();) {
    const bool good = utf8_step(text.substr(i)).kind == Utf8Step::character;
    size_t end = i;
    while (end < text.size()) {
      const Utf8Step step = utf8_step(text.substr(end));
      if ((step.kind == Utf8Step::character) != good) break;
      end += step.length;
    }
    words->list.push_back(text.substr(i, end - i));
    i = end;
  }
  std::vector<std::string_view> next;
  for (const Step& step : steps_) {
    put_prefixes(step.what, first, words);
    if (!step.regex && (step.what.kind == PreTokenizerStep::byte_level ||
                        (step.what.kind == PreTokenizerStep::metaspace && !step.what.use_pattern)))
      continue;
    next.clear();
    for (const std::string_view word : words->list) {
      if (utf8_step(word).kind == Utf8Step::character) {
        VIBEE_TRY(cut(step, word, &next));
      } else {
        next.push_back(word);
      }
    }
    std::swap(words->list, next);
  }
  return {};
}

}  // namespace vibee
