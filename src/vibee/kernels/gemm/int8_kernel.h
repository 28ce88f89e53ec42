// SPDX-License-Identifier: Apache-2.0
// What instruction sets share of products in 8-bit integers, on V16: the largest number of rows, and packing. Included
// by int8_gemm_<isa>.cc alone.
#pragma once

#include <cstring>

#include "vibee/kernels/gemm/int8_code.h"
#include "vibee/kernels/gemm/load_numbers.h"

namespace vibee {
namespace {

inline float or_nan(float largest, float zero) { return zero == 0 ? largest : __builtin_nanf(""); }

void int8_largest_of_rows(const ProductOperand& x, Range rows, float* out) {
  if (!x.across) {
    for (uint32_t r = rows.begin; r < rows.end; ++r) {
      V16 most = v_zero(), zero = v_zero();
      for (uint32_t k = 0; k < x.depth; k += 16) {
        const V16 v = load_some(x.element, x.p, r * x.ld + k, x.depth - k);
        most = v_max(most, v_abs(v));
        zero = v_fma(v, v_zero(), zero);  // stays zero while all are finite
      }
      out[r - rows.begin] = or_nan(v_hmax(most), v_sum(v_abs(zero)));
    }
    return;
  }
  for (uint32_t r = rows.begin; r < rows.end; r += 16) {
    const uint32_t n = rows.end - r < 16 ? rows.end - r : 16;
    V16 most = v_zero(), zero = v_zero();
    for (uint32_t k = 0; k < x.depth; ++k) {
      const V16 v = load_some(x.element, x.p, k * x.ld + r, n);
      most = v_max(most, v_abs(v));
      zero = v_fma(v, v_zero(), zero);
    }
    float sizes[16], zeros[16];
    v_store(sizes, most);
    v_store(zeros, v_abs(zero));
    for (uint32_t i = 0; i < n; ++i) out[r - rows.begin + i] = or_nan(sizes[i], zeros[i]);
  }
}

/// What numbers are multiplied by, and what their codes stand for.
inline void int8_scale(float largest, float* by, float* scale) {
  const bool usable = largest >= 1e-35f && largest <= 3.4028235e38f;
  *by = usable ? 127.0f / largest : 0.0f;
  *scale = largest == largest ? (usable ? largest / 127.0f : 0.0f) : largest;
}

/// Codes of numbers; of one that is none, whose scale is none either, some code.
inline V16 int8_codes(V16 x, V16 by) { return v_min(v_max(v_round(x * by), v_set(-127.0f)), v_set(127.0f)); }

void int8_pack_rows(const ProductOperand& x, uint32_t first, uint32_t width, uint8_t flip, const float* largest,
                    uint8_t* codes, float* scales, int32_t* sums) {
  const uint32_t rows = x.rows - first < width ? x.rows - first : width;
  alignas(64) float by[16] = {};
  for (uint32_t r = 0; r < width; ++r) scales[r] = 0;
  for (uint32_t r = 0; r < rows; ++r) int8_scale(largest[r], by + r, scales + r);
  if (rows < width || x.depth % 4 != 0) std::memset(codes, flip, uint64_t(x.depth + 3) / 4 * 4 * width);
  if (!x.across) {
    for (uint32_t r = 0; r < rows; ++r) {
      V16 sum = v_zero();  // of whole numbers below 2^24
      uint8_t* to = codes + 4 * r;
      for (uint32_t k = 0; k < x.depth; k += 16, to += 16 * width) {
        const V16 q = int8_codes(load_some(x.element, x.p, (first + r) * x.ld + k, x.depth - k), v_set(by[r]));
        sum = sum + q;
        int8_t eight[16];
        v_store_i8(eight, q);
        uint32_t four[4];
        std::memcpy(four, eight, 16);
        const uint32_t bits = flip * 0x01010101u, n = x.depth - k < 16 ? (x.depth - k + 3) / 4 : 4;
        for (uint32_t i = 0; i < n; ++i) {
          const uint32_t word = four[i] ^ bits;
          std::memcpy(to + uint64_t(i) * 4 * width, &word, 4);
        }
      }
      if (sums != nullptr) sums[r] = int32_t(v_sum(sum));
    }
    return;
  }
  V16 sum = v_zero();
  const V16 factors = v_load(by);
  for (uint32_t k = 0; k < x.depth; k += 4) {
    int8_t eight[4][16] = {};
    for (uint32_t i = 0; i < 4 && k + i < x.depth; ++i) {
      const V16 q = int8_codes(load_some(x.element, x.p, (k + i) * x.ld + first, rows), factors);
      sum = sum + q;
      v_store_i8(eight[i], q);
    }
    uint8_t* const to = codes + uint64_t(k) * width;
    for (uint32_t r = 0; r < rows; ++r)
      for (uint32_t i = 0; i < 4; ++i) to[4 * r + i] = uint8_t(eight[i][r]) ^ flip;
  }
  if (sums == nullptr) return;
  float all[16];
  v_store(all, sum);
  for (uint32_t r = 0; r < rows; ++r) sums[r] = int32_t(all[r]);
}

}  // namespace
}  // namespace vibee
