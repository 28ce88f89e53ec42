// SPDX-License-Identifier: Apache-2.0
// Token text -> id for vocabularies of hundreds of thousands of pieces: open addressing over views into the caller's
// strings. The hash is seeded per process, so that a crafted vocabulary cannot make the lookups linear.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace vibee {

class TextIndex {
 public:
  /// Room for `expected` texts without growing.
  explicit TextIndex(size_t expected = 0);
  /// The view must outlive the index. A text that is already there gets the new id.
  void insert(std::string_view text, int32_t id);
  /// -1 when absent.
  int32_t find(std::string_view text) const;

 private:
  struct Slot {
    const char* data;
    uint32_t size;
    int32_t id = -1;
  };
  size_t slot_of(std::string_view text) const;
  void grow(size_t slots);
  std::vector<Slot> slots_;
  size_t used_ = 0;
};

/// Seeded 64-bit hashes shared by the tables of this folder.
uint64_t hash_bytes(std::string_view text);
uint64_t hash_word(uint64_t word);

}  // namespace vibee
