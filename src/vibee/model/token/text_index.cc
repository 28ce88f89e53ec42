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

TextIndex::TextIndex(const TextList& texts, size_t expected) : texts_(&texts) {
  grow(std::bit_ceil(expected * 4 / 3 + 16));
}

size_t TextIndex::slot_of(std::string_view text, uint64_t hash) const {
  const size_t mask = slots_.size() - 1;
  size_t i = hash & mask;
  while (slots_[i] != kEmpty && (slots_[i] >> 24 != hash >> 56 || (*texts_)[slots_[i] & kMaxId] != text)) {
    i = (i + 1) & mask;
  }
  return i;
}

void TextIndex::grow(size_t slots) {
  std::vector<uint32_t> old(slots, kEmpty);
  std::swap(old, slots_);
  for (const uint32_t slot : old) {
    if (slot == kEmpty) continue;
    const std::string_view text = (*texts_)[slot & kMaxId];
    slots_[slot_of(text, hash_bytes(text))] = slot;
  }
}

void TextIndex::insert(int32_t id) {
  if ((used_ + 1) * 4 > slots_.size() * 3) grow(slots_.size() * 2);
  const std::string_view text = (*texts_)[size_t(id)];
  const uint64_t hash = hash_bytes(text);
  uint32_t& slot = slots_[slot_of(text, hash)];
  if (slot == kEmpty) ++used_;
  slot = uint32_t(hash >> 56) << 24 | uint32_t(id);
}

int32_t TextIndex::find(std::string_view text) const {
  const uint32_t slot = slots_[slot_of(text, hash_bytes(text))];
  return slot == kEmpty ? -1 : int32_t(slot & kMaxId);
}

}  // namespace vibee
