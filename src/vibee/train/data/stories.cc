// SPDX-License-Identifier: Apache-2.0
#include "vibee/train/data/stories.h"

#include <algorithm>
#include <cctype>
#include <optional>

#include "vibee/base/random/philox.h"
#include "vibee/base/text/quote.h"
#include "vibee/train/data/story_grammar.h"

namespace vibee {
namespace {

constexpr const char kOwn[] = {
#include "vibee/stories.inc"
};
constexpr uint32_t kDeepest = 64, kMostSteps = 20000;  // of one story
constexpr size_t kLongest = size_t(1) << 20;           // bytes

bool is_vowel(char c) { return std::string_view("aeiouAEIOU").find(c) != std::string_view::npos; }

/// Whether a word begins with the sound of a vowel.
bool takes_an(std::string_view word) {
  for (const std::string_view silent : {"hour", "honest", "heir"})
    if (word.starts_with(silent)) return true;
  for (const std::string_view spoken : {"uni", "use", "one", "once", "euro", "ukulele"})
    if (word.starts_with(spoken)) return false;
  return !word.empty() && is_vowel(word[0]);
}

/// Of he, him, his, himself for it, she and he.
std::optional<std::string_view> pronoun(std::string_view key, std::string_view gender) {
  constexpr std::string_view kTable[4][4] = {{"he", "she", "it", "he"},
                                             {"him", "her", "it", "him"},
                                             {"his", "her", "its", "his"},
                                             {"himself", "herself", "itself", "himself"}};
  for (const auto& row : kTable) {
    if (key == row[0]) return row[gender == "f" ? 1 : gender == "n" ? 2 : 3];
  }
  return {};
}

/// Behind a question or a call. Who said it may follow, but not from a rule.
bool ends_in_speech(std::string_view text) {
  while (text.ends_with(' ')) text.remove_suffix(1);
  return text.ends_with("?\"") || text.ends_with("!\"");
}

class Telling {
 public:
  Telling(const StoryGrammar& grammar, uint64_t key)
      : grammar_(grammar), random_(key, Purpose::data), last_(grammar.rules.size(), ~0u) {}

  Result<std::string> tell() {
    std::string out;
    VIBEE_TRY(expand_rule(grammar_.story, 0, &out));
    return finish_sentences(out);
  }

 private:
  struct Value {
    std::string name, text;
    const StoryAlternative* from;
  };

  const Value* find(std::string_view name) const {
    for (const Value& value : values_)
      if (value.name == name) return &value;
    return nullptr;
  }

  /// The alternative of a rule that is taken, and what became of it.
  Status expand_rule(uint32_t rule, uint32_t depth, std::string* out, const StoryAlternative** taken = nullptr) {
    if (depth > kDeepest || ++steps_ > kMostSteps || out->size() > kLongest)
      return error(Code::invalid, "rule [{}] does not come to an end", grammar_.rules[rule].name);
    const std::vector<StoryAlternative>& list = grammar_.rules[rule].alternatives;
    const uint32_t n = uint32_t(list.size());
    uint32_t i = random_.below(n);
    if (i == last_[rule] && n > 1) i = (i + 1 + random_.below(n - 1)) % n;
    last_[rule] = i;
    if (taken != nullptr) *taken = &list[i];
    return expand(list[i].text, depth + 1, out);
  }

  Status bind(const StoryNode& node, uint32_t depth, std::string* out) {
    Value value{node.text, {}, nullptr};
    for (int tries = 0; tries < 40; ++tries) {
      value.text.clear();
      VIBEE_TRY(expand_rule(node.rule, depth, &value.text, &value.from));
      const bool taken = std::any_of(values_.begin(), values_.end(), [&](const Value& other) {
        return other.name != value.name && other.text == value.text;
      });
      if (!taken) break;
    }
    if (node.said) *out += value.text;
    const auto old = std::find_if(values_.begin(), values_.end(), [&](const Value& v) { return v.name == value.name; });
    if (old != values_.end()) {
      *old = std::move(value);
    } else {
      values_.push_back(std::move(value));
    }
    return {};
  }

  /// An attribute; nothing where the word has none of that key.
  std::optional<std::string_view> attribute(const Value& value, std::string_view key) {
    const auto& attributes = value.from->attributes;
    const auto at = attributes.find(key);
    if (at != attributes.end()) return at->second[random_.below(uint32_t(at->second.size()))];
    const auto gender = attributes.find(std::string_view("g"));
    if (gender == attributes.end()) return {};
    return pronoun(key, gender->second[0]);
  }

  Status expand(const StoryText& text, uint32_t depth, std::string* out) {
    if (depth > 2 * kDeepest) return error(Code::invalid, "a story is nested too deeply");
    for (const StoryNode& node : text) {
      using Kind = StoryNode::Kind;
      if (node.kind == Kind::text) {
        *out += node.text;
      } else if (node.kind == Kind::rule) {
        const bool begins = ends_in_speech(*out);
        const size_t at = out->size();
        VIBEE_TRY(expand_rule(node.rule, depth, out));
        if (begins && at < out->size()) (*out)[at] = char(std::toupper(uint8_t((*out)[at])));
      } else if (node.kind == Kind::bind) {
        VIBEE_TRY(bind(node, depth, out));
      } else if (node.kind == Kind::choice) {
        VIBEE_TRY(expand(node.parts[random_.below(uint32_t(node.parts.size()))], depth + 1, out));
      } else {
        const Value* value = find(node.text);
        if (value == nullptr) return error(Code::invalid, "{} is used before it is kept", quote(node.text));
        if (node.kind == Kind::value && node.key.empty()) {
          *out += value->text;
          continue;
        }
        const auto found = attribute(*value, node.key);
        if (node.kind == Kind::value) {
          if (!found)
            return error(Code::invalid, "{} as {} has no attribute {}", quote(value->text), node.text, quote(node.key));
          *out += *found;
        } else {
          const bool yes = found && (node.wanted.empty() || *found == node.wanted);
          VIBEE_TRY(expand(node.parts[yes ? 0 : 1], depth + 1, out));
        }
      }
    }
    return {};
  }

  const StoryGrammar& grammar_;
  RandomStream random_;
  std::vector<uint32_t> last_;  // the alternative a rule gave last
  std::vector<Value> values_;
  uint32_t steps_ = 0;
};

}  // namespace

std::string finish_sentences(std::string_view text) {
  // Spaces first: one between words, none around paragraphs.
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text.substr(i, 2) == "//") {
      while (plain.ends_with(' ')) plain.pop_back();
      if (!plain.empty() && !plain.ends_with('\n')) plain += "\n\n";
      ++i;
    } else if (text[i] != ' ' || (!plain.empty() && plain.back() != ' ' && plain.back() != '\n')) {
      plain += text[i];
    }
  }
  while (!plain.empty() && (plain.back() == ' ' || plain.back() == '\n')) plain.pop_back();
  std::string out;
  bool capital = true;  // the next letter begins a sentence
  for (size_t i = 0; i < plain.size(); ++i) {
    char c = plain[i];
    // What is said begins a sentence, but not behind a comma: the speaker may have been named in between.
    const bool opens = c == '"' && (i == 0 || plain[i - 1] == '\n' || (plain[i - 1] == ' ' && plain[i - 2] != ','));
    if (capital && std::isalpha(uint8_t(c))) {
      c = char(std::toupper(uint8_t(c)));
      capital = false;
    }
    out += c;
    if (opens || c == '\n') capital = true;
    if (c == ' ' && i > 0 && std::string_view(".!?").find(plain[i - 1]) != std::string_view::npos) capital = true;
    if (c == ' ' && i > 1 && plain[i - 1] == '"' && plain[i - 2] == '.')
      capital = true;  // what is said ends in a comma
    const bool article = (plain[i] == 'a' || plain[i] == 'A') && i + 2 < plain.size() && plain[i + 1] == ' ' &&
                         (i == 0 || !std::isalpha(uint8_t(plain[i - 1])));
    if (article && (i == 0 || plain[i - 1] != '\'') && takes_an(std::string_view(plain).substr(i + 2))) out += 'n';
  }
  return out;
}

Storyteller::Storyteller() = default;
Storyteller::Storyteller(Storyteller&&) noexcept = default;
Storyteller::~Storyteller() = default;

Result<Storyteller> Storyteller::make(std::string_view grammar, const std::string& name) {
  VIBEE_ASSIGN(StoryGrammar parsed, parse_story_grammar(grammar, name));
  Storyteller out;
  out.grammar_ = std::make_unique<StoryGrammar>(std::move(parsed));
  return out;
}

Result<Storyteller> Storyteller::own() { return make({kOwn, sizeof kOwn - 1}, "stories.txt"); }

Result<std::string> Storyteller::tell(uint64_t seed, uint64_t i) const {
  const Philox4 block = philox(seed, Purpose::data, ~0u, i);
  return Telling(*grammar_, uint64_t(block[0]) << 32 | block[1]).tell();
}

Result<std::string> Storyteller::tell_bytes(uint64_t seed, uint64_t bytes) const {
  std::string out;
  for (uint64_t i = 0; out.size() < bytes; ++i) {
    VIBEE_ASSIGN(const std::string story, tell(seed, i));
    out += story + "\n\n";
  }
  return out;
}

}  // namespace vibee
