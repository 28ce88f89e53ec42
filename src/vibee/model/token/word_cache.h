// SPDX-License-Identifier: Apache-2.0
// What short words became, one table of fixed size a thread: texts repeat their words, and a hit costs no merging. A
// slot keeps the last word that fell on it.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "vibee/model/token/text_index.h"

namespace vibee {

class WordCache {
 public:
  static WordCache& of_thread() {
    static thread_local WordCache cache;
    return cache;
  }
  /// Appends the ids that tokenizer `serial` gave `word`; false when they are not known.
  bool find(uint64_t serial, std::string_view word, std::vector<int32_t>* ids) const {
    if (slots_ == nullptr || word.size() > kLongest) return false;
    const Slot& slot = slots_[hash_bytes(word) % kSlots];
    if (slot.serial != serial || slot.size != word.size() || std::memcmp(slot.word, word.data(), word.size()) != 0)
      return false;
    ids->insert(ids->end(), slot.ids, slot.ids + slot.count);
    return true;
  }
  void put(uint64_t serial, std::string_view word, std::span<const int32_t> ids) {
    if (slots_ == nullptr || word.size() > kLongest || ids.size() > kMostIds) return;
    Slot& slot = slots_[hash_bytes(word) % kSlots];
    slot.serial = serial;
    slot.size = uint8_t(word.size());
    slot.count = uint8_t(ids.size());
    std::memcpy(slot.word, word.data(), word.size());
    std::copy(ids.begin(), ids.end(), slot.ids);
  }

 private:
  struct Free {
    void operator()(void* p) const { std::free(p); }
  };
  static constexpr size_t kSlots = 1 << 14, kLongest = 30, kMostIds = 6;
  struct Slot {
    uint64_t serial;
    int32_t ids[kMostIds];
    uint8_t size, count;
    char word[kLongest];
  };
  /// Zeros, so that only slots in use are resident; a serial is never 0.
  std::unique_ptr<Slot[], Free> slots_{static_cast<Slot*>(std::calloc(kSlots, sizeof(Slot)))};
};

}  // namespace vibee
