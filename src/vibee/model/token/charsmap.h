// SPDX-License-Identifier: Apache-2.0
// The character map of a SentencePiece model (precompiled_charsmap): a double-array trie (darts-clone) from character
// sequences to what they become. Applied as Hugging Face tokenizers does: a grapheme cluster of fewer than six bytes at
// once, others character by character.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "vibee/model/token/regex.h"

namespace vibee {

class Charsmap {
 public:
  /// `blob`: the trie's size in bytes (u32, little-endian), the trie, then texts that end in a zero byte.
  static Result<Charsmap> make(std::string_view blob);
  /// `text`: valid UTF-8.
  Status apply(std::string_view text, std::string* out) const;

 private:
  explicit Charsmap(Regex cluster) : cluster_(std::move(cluster)) {}
  /// What the shortest mapped beginning of `chunk` becomes; false when none is mapped.
  bool find(std::string_view chunk, std::string_view* out) const;
  std::vector<uint32_t> units_;
  std::string texts_;
  Regex cluster_;
};

}  // namespace vibee
