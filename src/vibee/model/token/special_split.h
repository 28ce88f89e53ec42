// SPDX-License-Identifier: Apache-2.0
// Cuts a text at its special tokens before the tokenizer proper sees it: at every place the longest one that stands
// there, from left to right, as sentencepiece and Hugging Face tokenizers do.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <vector>

#include "vibee/model/token/tokenizer_spec.h"
#include "vibee/model/token/trie.h"

namespace vibee {

/// Either a stretch of plain text (id < 0) or one special token.
struct Fragment {
  std::string_view text;
  int32_t id = -1;
};

class SpecialSplit {
 public:
  bool empty() const { return rules_.empty(); }
  /// `always`: matched even when the caller does not ask for special tokens (user-defined ones).
  void add(std::string_view text, const AddedToken& token, bool always);
  /// The fragments of `text` in order; none is empty.
  std::vector<Fragment> split(std::string_view text, bool parse_special) const;
  /// Bytes of the longest special token; matching costs at most this much a byte of text.
  size_t longest() const { return longest_; }

 private:
  struct Rule {
    AddedToken token;
    bool always = false;
  };
  Trie trie_;  // to positions in rules_
  std::vector<Rule> rules_;
  bool starts_[256] = {};
  size_t longest_ = 0;
};

}  // namespace vibee
