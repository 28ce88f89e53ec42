// SPDX-License-Identifier: Apache-2.0
// The packing that Q4_K and Q5_K share: eight 6-bit scales and eight 6-bit minima in 12 bytes.
#pragma once

#include <cstdint>

namespace vibee {

constexpr int kSuperBlock = 256;

constexpr uint8_t k_scale(const uint8_t* b, int k) {
  return k < 4 ? b[k] & 63 : uint8_t((b[k + 4] & 15) | ((b[k - 4] >> 6) << 4));
}
constexpr uint8_t k_min(const uint8_t* b, int k) {
  return k < 4 ? b[k + 4] & 63 : uint8_t((b[k + 4] >> 4) | ((b[k] >> 6) << 4));
}
/// The inverse of k_scale and k_min; `b` is written whole.
constexpr void pack_k_scales(const uint8_t* scales, const uint8_t* mins, uint8_t* b) {
  for (int k = 0; k < 4; ++k) {
    b[k] = uint8_t((scales[k] & 63) | ((scales[k + 4] >> 4) << 6));
    b[k + 4] = uint8_t((mins[k] & 63) | ((mins[k + 4] >> 4) << 6));
    b[k + 8] = uint8_t((scales[k + 4] & 15) | ((mins[k + 4] & 15) << 4));
  }
}

}  // namespace vibee
