// SPDX-License-Identifier: Apache-2.0
// Little-endian numbers in byte streams, whatever their alignment and the host's byte order.
#pragma once

#include <cstdint>

namespace vibee {

constexpr uint16_t load_u16(const uint8_t* p) { return uint16_t(p[0] | (p[1] << 8)); }
constexpr uint32_t load_u32(const uint8_t* p) { return uint32_t(load_u16(p)) | (uint32_t(load_u16(p + 2)) << 16); }
constexpr uint64_t load_u64(const uint8_t* p) { return uint64_t(load_u32(p)) | (uint64_t(load_u32(p + 4)) << 32); }
constexpr void store_u16(uint8_t* p, uint16_t v) {
  p[0] = uint8_t(v);
  p[1] = uint8_t(v >> 8);
}
constexpr void store_u32(uint8_t* p, uint32_t v) {
  store_u16(p, uint16_t(v));
  store_u16(p + 2, uint16_t(v >> 16));
}
constexpr void store_u64(uint8_t* p, uint64_t v) {
  store_u32(p, uint32_t(v));
  store_u32(p + 4, uint32_t(v >> 32));
}

}  // namespace vibee
