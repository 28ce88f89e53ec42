// SPDX-License-Identifier: Apache-2.0
// Multiply-fold hashing (the mixing step of wyhash by Wang Yi) and linear probing at most half full.
#include "vibee/model/token/text_index.h"

#include <bit>
#include <cstring>
#include <random>

namespace vibee {
namespace {

uint64_t fold(uint64_t a, uint64_t b) {
  const auto product = static_cast<unsigned __int128>(a) * b;
  return uint64_t(product) ^ uint64_t(product >> 64);
}

uint64_t process_seed() {
  static const uint64_t seed = [] {
    std::random_device device;
    return uint64_t(device()) << 32 | device();
  }();
  return seed;
}

constexpr uint64_t kOdd1 = 0xa0761d6478bd642full, kOdd2 = 0xe7037ed1a0b428dbull;

}  // namespace

uint64_t hash_word(uint64_t word) { return fold(word ^ process_seed() ^ kOdd1, kOdd2 ^ process_seed()); }

uint64_t hash_bytes(std::string_view text) {
  uint64_t h = process_seed() ^ fold(text.size() ^ kOdd1, kOdd2);
  const char* p = text.data();
  size_t left = text.size();
  while (left >= 8) {
    uint64_t word;
    std::memcpy(&word, p, 8);
    h = fold(h ^ word ^ kOdd1, kOdd2 ^ process_seed());
    p += 8;
    left -= 8;
  }
  uint64_t tail = 0;
  if (left > 0) std::memcpy(&tail, p, left);
  return fold(h ^ tail ^ kOdd2, kOdd1 ^ process_seed());
}

TextIndex::TextIndex(size_t expected) { grow(std::bit_ceil(expected * 4 / 3 + 16)); }

size_t TextIndex::slot_of(std::string_view text) const {
  const size_t mask = slots_.size() - 1;
  size_t i = hash_bytes(text) & mask;
  while (slots_[i].id >= 0 && std::string_view(slots_[i].data, slots_[i].size) != text) i = (i + 1) & mask;
  return i;
}

void TextIndex::grow(size_t slots) {
  std::vector<Slot> old(slots);
  std::swap(old, slots_);
  for (const Slot& slot : old) {
    if (slot.id >= 0) slots_[slot_of({slot.data, slot.size})] = slot;
  }
}

void TextIndex::insert(std::string_view text, int32_t id) {
  if ((used_ + 1) * 4 > slots_.size() * 3) grow(slots_.size() * 2);
  Slot& slot = slots_[slot_of(text)];
  if (slot.id < 0) ++used_;
  slot = {text.data(), uint32_t(text.size()), id};
}

int32_t TextIndex::find(std::string_view text) const { return slots_[slot_of(text)].id; }

}  // namespace vibee
