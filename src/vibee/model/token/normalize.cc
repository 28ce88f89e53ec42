// SPDX-License-Identifier: Apache-2.0
// BertNormalizer is a sequence of the other steps; everything about categories of characters is a pattern.
#include "vibee/model/token/normalize.h"

#include <algorithm>
#include <functional>

#include "vibee/model/token/py_text.h"
#include "vibee/model/token/utf8.h"

namespace vibee {
namespace {

constexpr size_t kMaxGrowth = size_t(1) << 30;

// What BERT's BasicTokenizer drops (controls, formats, private use), but for tab, line feed and carriage return.
constexpr const char* kNotClean = "(?![\\t\\n\\r])[\\p{Cc}\\p{Cf}\\p{Co}\\x{0}\\x{fffd}]";
constexpr const char* kWhiteSpace = "[\\t\\n\\r\\p{Z}]";
constexpr const char* kIdeograph =
    "[\\x{3400}-\\x{4dbf}\\x{4e00}-\\x{9fff}\\x{f900}-\\x{faff}\\x{20000}-\\x{2a6df}\\x{2a700}-\\x{2b73f}"
    "\\x{2b740}-\\x{2b81f}\\x{2b920}-\\x{2ceaf}\\x{2f800}-\\x{2fa1f}]";

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return uint8_t(c) < 0x80; });
}

NormalizerStep substitution(std::string pattern, std::string content) {
  return {
      .kind = NormalizerStep::replace, .pattern = std::move(pattern), .content = std::move(content), .is_regex = true};
}

/// Runs `change` on every stretch of valid UTF-8 and copies the bytes between.
Status on_characters(std::string_view text, std::string* out,
                     const std::function<Status(std::string_view, std::string*)>& change) {
  for (size_t i = 0; i < text.size();) {
    size_t end = i;
    while (end < text.size()) {
      const Utf8Step step = utf8_step(text.substr(end));
      if (step.kind != Utf8Step::character) break;
      end += step.length;
    }
    if (end > i) VIBEE_TRY(change(text.substr(i, end - i), out));
    i = end;
    if (i < text.size()) {
      const size_t length = utf8_step(text.substr(i)).length;
      *out += text.substr(i, length);
      i += length;
    }
  }
  return {};
}

}  // namespace

Status Normalizer::add(NormalizerStep what, bool beyond_ascii) {
  Step step{.what = std::move(what), .beyond_ascii = beyond_ascii};
  if (step.what.kind == NormalizerStep::replace) {
    if (step.what.is_regex) {
      VIBEE_ASSIGN(step.regex, Regex::make(step.what.pattern));
    } else if (step.what.pattern.empty()) {
      return error(Code::corrupt, "tokenizer: a Replace normalizer has an empty pattern");
    }
  } else if (step.what.kind == NormalizerStep::precompiled) {
    VIBEE_ASSIGN(step.map, Charsmap::make(step.what.content));
  }
  steps_.push_back(std::move(step));
  return {};
}

Result<Normalizer> Normalizer::make(const std::vector<NormalizerStep>& steps) {
  Normalizer made;
  for (const NormalizerStep& step : steps) {
    switch (step.kind) {
      case NormalizerStep::strip_accents: VIBEE_TRY(made.add(substitution("\\p{M}", ""), true)); break;
      case NormalizerStep::bert:
        if (step.clean_text) {
          VIBEE_TRY(made.add(substitution(kNotClean, ""), false));
          VIBEE_TRY(made.add(substitution(kWhiteSpace, " "), false));
        }
        if (step.chinese_chars) {
          VIBEE_TRY(made.add(substitution(kIdeograph, " \\0 "), true));
          made.steps_.back().what.left = false;  // marks: the content has the match in it
        }
        if (step.strip_accents_too) {
          VIBEE_TRY(made.add({.kind = NormalizerStep::nfd}, true));
          VIBEE_TRY(made.add(substitution("\\p{Mn}", ""), true));
        }
        if (step.lower) VIBEE_TRY(made.add({.kind = NormalizerStep::lowercase}, false));
        break;
      default: VIBEE_TRY(made.add(step, step.kind <= NormalizerStep::nfkd)); break;
    }
  }
  return made;
}

Status Normalizer::run(const Step& step, std::string* text) {
  const NormalizerStep& what = step.what;
  std::string out;
  switch (what.kind) {
    case NormalizerStep::nfc: out = to_normal_form(*text, NormalForm::nfc); break;
    case NormalizerStep::nfd: out = to_normal_form(*text, NormalForm::nfd); break;
    case NormalizerStep::nfkc: out = to_normal_form(*text, NormalForm::nfkc); break;
    case NormalizerStep::nfkd: out = to_normal_form(*text, NormalForm::nfkd); break;
    case NormalizerStep::lowercase: out = lower_each(*text); break;
    case NormalizerStep::strip: {
      static const Regex kEdges = std::move(*Regex::make("\\A\\s+|\\s+\\z"));
      VIBEE_TRY(on_characters(*text, &out, [&](std::string_view run, std::string* to) {
        size_t from = 0;
        VIBEE_TRY(kEdges.each(run, [&](size_t begin, size_t end) {
          const bool front = begin == 0 && run.data() == text->data();
          const bool back = end == run.size() && run.data() + end == text->data() + text->size();
          if (!(front && what.left) && !(back && what.right)) return;
          *to += run.substr(from, begin - from);
          from = end;
        }));
        *to += run.substr(from);
        return Status();
      }));
      break;
    }
    case NormalizerStep::replace:
      if (step.regex) {
        VIBEE_TRY(on_characters(*text, &out, [&](std::string_view run, std::string* to) {
          size_t from = 0;
          VIBEE_TRY(step.regex->each(run, [&](size_t begin, size_t end) {
            *to += run.substr(from, begin - from);
            if (what.left) {
              *to += what.content;
            } else {
              *to += ' ';
              *to += run.substr(begin, end - begin);
              *to += ' ';
            }
            from = end;
          }));
          *to += run.substr(from);
          return Status();
        }));
      } else {
        out = py_replace(*text, what.pattern, what.content, -1);
      }
      break;
    case NormalizerStep::prepend:
      if (text->empty()) return {};
      out = what.content + *text;
      break;
    case NormalizerStep::precompiled:
      VIBEE_TRY(
          on_characters(*text, &out, [&](std::string_view run, std::string* to) { return step.map->apply(run, to); }));
      break;
    case NormalizerStep::strip_accents:
    case NormalizerStep::bert: return error(Code::invalid, "tokenizer: a normalizer was not compiled");
  }
  if (out.size() > kMaxGrowth)
    return error(Code::invalid, "a text grows to {} bytes by normalizing, more than the {} supported", out.size(),
                 kMaxGrowth);
  *text = std::move(out);
  return {};
}

Status Normalizer::apply(std::string_view text, std::string* out) const {
  *out = text;
  bool ascii = is_ascii(*out);
  for (const Step& step : steps_) {
    if (ascii && step.beyond_ascii) continue;
    VIBEE_TRY(run(step, out));
    ascii = is_ascii(*out);
  }
  return {};
}

}  // namespace vibee
