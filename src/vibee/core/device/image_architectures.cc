// SPDX-License-Identifier: Apache-2.0
#include "vibee/core/device/image_architectures.h"

#include <fmt/core.h>

#include <cstdint>
#include <cstring>

namespace vibee {
namespace {

template <class T>
T field(std::span<const std::byte> bytes, size_t at) {
  T out;
  std::memcpy(&out, bytes.data() + at, sizeof out);
  return out;
}

}  // namespace

std::string image_architectures(std::span<const std::byte> fatbin) {
  constexpr uint32_t kMagic = 0xBA55ED50;
  constexpr uint64_t kEntry = 32;  // of an entry's header, what is read
  std::string out;
  if (fatbin.size() >= 16 && field<uint32_t>(fatbin, 0) == kMagic) {
    const uint64_t header = field<uint16_t>(fatbin, 6), stated = field<uint64_t>(fatbin, 8);
    std::span<const std::byte> rest = fatbin.subspan(header < fatbin.size() ? header : fatbin.size());
    if (stated < rest.size()) rest = rest.first(stated);
    while (rest.size() >= kEntry) {
      const uint16_t kind = field<uint16_t>(rest, 0);
      const uint64_t entry = field<uint32_t>(rest, 4), payload = field<uint64_t>(rest, 8);
      if (kind == 1 || kind == 2)
        out += fmt::format("{}{}_{}", out.empty() ? "" : ", ", kind == 1 ? "compute" : "sm", field<uint32_t>(rest, 28));
      if (entry < kEntry || entry > rest.size() || payload > rest.size() - entry) break;
      rest = rest.subspan(entry + payload);
    }
  }
  return out.empty() ? "unknown" : out;
}

}  // namespace vibee
