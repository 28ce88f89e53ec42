// SPDX-License-Identifier: Apache-2.0
// Token text -> id for vocabularies of hundreds of thousands of pieces: open addressing over the numbers of texts in a
// TextList, with 8 bits of the hash beside each, so that a slot is 4 bytes and a wrong text is rarely looked at. The
// hash is seeded per process, so that a crafted vocabulary cannot make the lookups linear.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "vibee/model/token/text_list.h"

namespace vibee {

class TextIndex {
 public:
  /// Ids are below this.
  static constexpr int32_t kMaxId = (1 << 24) - 1;

  /// `texts` must outlive the index. Room for `expected` texts without growing.
  explicit TextIndex(const TextList& texts, size_t expected = 0);
  /// Finds `texts[id]` from now on; of two ids of one text the later counts.
  void insert(int32_t id);
  /// -1 when absent.
  int32_t find(std::string_view text) const;

 private:
  static constexpr uint32_t kEmpty = ~0u;
  size_t slot_of(std::string_view text, uint64_t hash) const;
  void grow(size_t slots);
  const TextList* texts_;
  std::vector<uint32_t> slots_;  // bits of the hash << 24 | id
  size_t used_ = 0;
};

/// Seeded 64-bit hashes shared by the tables of this folder.
uint64_t hash_bytes(std::string_view text);
uint64_t hash_word(uint64_t word);

}  // namespace vibee
