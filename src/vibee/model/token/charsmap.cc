// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/token/charsmap.h"

#include <cstring>

#include "vibee/model/token/utf8.h"

namespace vibee {
namespace {

constexpr size_t kLongestCluster = 6;

uint32_t offset_of(uint32_t unit) { return (unit >> 10) << ((unit & (1u << 9)) >> 6); }

}  // namespace

Result<Charsmap> Charsmap::make(std::string_view blob) {
  uint32_t size = 0;
  if (blob.size() < sizeof size) return error(Code::corrupt, "character map: {} bytes are no map", blob.size());
  std::memcpy(&size, blob.data(), sizeof size);
  blob.remove_prefix(sizeof size);
  if (size == 0 || size % 4 != 0 || size > blob.size())
    return error(Code::corrupt, "character map: a trie of {} bytes, {} are left", size, blob.size());
  VIBEE_ASSIGN(Regex cluster, Regex::make("\\X"));
  Charsmap made(std::move(cluster));
  made.units_.resize(size / 4);
  std::memcpy(made.units_.data(), blob.data(), size);
  made.texts_ = blob.substr(size);
  return made;
}

bool Charsmap::find(std::string_view chunk, std::string_view* out) const {
  uint64_t at = offset_of(units_[0]);
  for (const char c : chunk) {
    if (c == 0) return false;
    at ^= uint8_t(c);
    if (at >= units_.size()) return false;
    const uint32_t unit = units_[at];
    if ((unit & 0x800000ffu) != uint8_t(c)) return false;
    at ^= offset_of(unit);
    if (at >= units_.size()) return false;
    if ((unit >> 8 & 1) != 0) {
      const uint32_t begin = units_[at] & 0x7fffffffu;
      if (begin >= texts_.size()) return false;
      *out = std::string_view(texts_.c_str() + begin);
      return true;
    }
  }
  return false;
}

Status Charsmap::apply(std::string_view text, std::string* out) const {
  std::string_view to;
  return cluster_.each(text, [&](size_t begin, size_t end) {
    const std::string_view cluster = text.substr(begin, end - begin);
    if (cluster.size() < kLongestCluster && find(cluster, &to)) {
      *out += to;
      return;
    }
    for (size_t i = 0; i < cluster.size();) {
      const size_t length = utf8_step(cluster.substr(i)).length;
      *out += find(cluster.substr(i, length), &to) ? to : cluster.substr(i, length);
      i += length;
    }
  });
}

}  // namespace vibee
