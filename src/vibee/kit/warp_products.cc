// SPDX-License-Identifier: Apache-2.0
#include "vibee/kit/warp_products.h"

#include <bit>

#include "vibee/base/math/half.h"

namespace vibee {
namespace {

/// Element i of a lane's registers, 32 / kBits of them in each.
template <uint32_t kBits>
uint32_t element(const uint32_t* registers, uint32_t i) {
  constexpr uint32_t kEach = 32 / kBits;
  return registers[i / kEach] >> (i % kEach * kBits) & ((1u << kBits) - 1);
}

template <class Number, uint32_t kBits, class Decode>
void multiply(const uint32_t (*a)[4], const uint32_t (*b)[2], uint32_t (*d)[4], Decode decode) {
  constexpr uint32_t kEach = 32 / kBits, kDepth = 8 * kEach;
  Number left[16][kDepth], right[kDepth][8];
  for (uint32_t lane = 0; lane < 32; ++lane) {
    for (uint32_t i = 0; i < 4 * kEach; ++i) {
      const FragmentPlace at = a_place(lane, i, kEach);
      left[at.row][at.column] = decode(element<kBits>(a[lane], i));
    }
    for (uint32_t i = 0; i < 2 * kEach; ++i) {
      const FragmentPlace at = b_place(lane, i, kEach);
      right[at.row][at.column] = decode(element<kBits>(b[lane], i));
    }
  }
  for (uint32_t lane = 0; lane < 32; ++lane)
    for (uint32_t i = 0; i < 4; ++i) {
      const FragmentPlace at = sum_place(lane, i);
      Number sum = std::bit_cast<Number>(d[lane][i]);
      for (uint32_t k = 0; k < kDepth; ++k) sum += left[at.row][k] * right[k][at.column];
      d[lane][i] = std::bit_cast<uint32_t>(sum);
    }
}

}  // namespace

void multiply_warp(WarpProduct kind, const uint32_t (*a)[4], const uint32_t (*b)[2], uint32_t (*d)[4]) {
  switch (kind) {
    case WarpProduct::bf16: return multiply<float, 16>(a, b, d, [](uint32_t x) { return bf16_to_float(uint16_t(x)); });
    case WarpProduct::f16: return multiply<float, 16>(a, b, d, [](uint32_t x) { return half_to_float(uint16_t(x)); });
    // Modulo 2^32 signed and unsigned sums have the same bits, and unsigned ones may wrap.
    case WarpProduct::s8:
      return multiply<uint32_t, 8>(a, b, d, [](uint32_t x) { return uint32_t(int32_t(int8_t(x))); });
  }
}

}  // namespace vibee
