// SPDX-License-Identifier: Apache-2.0
// A trie walked from every position whose byte begins some special token.
#include "vibee/model/token/special_split.h"

#include "vibee/model/token/py_text.h"
#include "vibee/model/token/regex.h"
#include "vibee/model/token/utf8.h"

namespace vibee {
namespace {

bool matches(const Regex& regex, std::string_view text) {
  bool found = false;
  return regex.each(text, [&](size_t, size_t) { found = true; }).ok() && found;
}

/// The character that ends before `at`, one byte of it when it is not UTF-8.
std::string_view before(std::string_view text, size_t at) {
  for (size_t n = 1; n <= 4 && n <= at; ++n) {
    const Utf8Step step = utf8_step(text.substr(at - n, n));
    if (step.kind == Utf8Step::character && step.length == n) return text.substr(at - n, n);
  }
  return text.substr(at - std::min<size_t>(at, 1), std::min<size_t>(at, 1));
}

std::string_view after(std::string_view text, size_t at) {
  return at < text.size() ? text.substr(at, utf8_step(text.substr(at)).length) : std::string_view();
}

bool is_word(std::string_view character) {
  static const Regex kWord = std::move(*Regex::make("[\\w\\p{Nl}\\x{200c}\\x{200d}]"));
  return !character.empty() && utf8_step(character).kind == Utf8Step::character && matches(kWord, character);
}

bool is_space(std::string_view character) {
  const Utf8Step step = character.empty() ? Utf8Step{} : utf8_step(character);
  return !character.empty() && step.kind == Utf8Step::character && py_is_space(step.code) &&
         (step.code < 0x1c || step.code > 0x1f);
}

}  // namespace

void SpecialSplit::add(std::string_view text, const AddedToken& token, bool always) {
  if (text.empty()) return;
  starts_[uint8_t(text[0])] = true;
  longest_ = std::max(longest_, text.size());
  trie_.insert(text, int32_t(rules_.size()));
  rules_.push_back({token, always});
}

std::vector<Fragment> SpecialSplit::split(std::string_view text, bool parse_special) const {
  std::vector<Fragment> out;
  size_t plain = 0;  // where the plain text before position i begins
  for (size_t i = 0; i < text.size();) {
    size_t end = 0;
    const Rule* rule = nullptr;
    if (starts_[uint8_t(text[i])]) {
      uint32_t node = Trie::kRoot;
      for (size_t j = i; j < text.size(); ++j) {
        node = trie_.child(node, uint8_t(text[j]));
        if (node == Trie::kNone) break;
        const int32_t at = trie_.id(node);
        if (at >= 0 && (parse_special || rules_[at].always)) {
          rule = &rules_[at];
          end = j + 1;
        }
      }
    }
    if (rule == nullptr) {
      ++i;
      continue;
    }
    size_t begin = i;
    i = end;
    if (rule->token.single_word && (is_word(before(text, begin)) || is_word(after(text, end)))) continue;
    while (rule->token.lstrip && begin > plain && is_space(before(text, begin))) begin -= before(text, begin).size();
    while (rule->token.rstrip && is_space(after(text, i))) i += after(text, i).size();
    if (begin > plain) out.push_back({text.substr(plain, begin - plain), -1});
    out.push_back({text.substr(begin, i - begin), rule->token.id});
    plain = i;
  }
  if (plain < text.size()) out.push_back({text.substr(plain), -1});
  return out;
}

}  // namespace vibee
