// SPDX-License-Identifier: Apache-2.0
// Cuts a text at its special tokens before the tokenizer proper sees it: at every place the longest one that stands
// there, from left to right, as sentencepiece and Hugging Face tokenizers do.
#pragma once

#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace vibee {

/// Either a stretch of plain text (id < 0) or one special token.
struct Fragment {
  std::string_view text;
  int32_t id = -1;
};

class SpecialSplit {
 public:
  /// `always`: matched even when the caller does not ask for special tokens (user-defined ones).
  void add(std::string_view text, int32_t id, bool always);
  /// The fragments of `text` in order; none is empty.
  std::vector<Fragment> split(std::string_view text, bool parse_special) const;
  /// Bytes of the longest special token; matching costs at most this much a byte of text.
  size_t longest() const { return longest_; }

 private:
  struct Node {
    int32_t id = -1;
    bool always = false;
  };
  static uint64_t edge(uint32_t node, uint8_t byte) { return uint64_t(node) << 8 | byte; }
  std::vector<Node> nodes_{Node{}};
  std::unordered_map<uint64_t, uint32_t> edges_;
  bool starts_[256] = {};
  size_t longest_ = 0;
};

}  // namespace vibee
