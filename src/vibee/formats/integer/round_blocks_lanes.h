// SPDX-License-Identifier: Apache-2.0
// The kernels of round_blocks.h on V16; included by round_blocks_<isa>.cc only.
#pragma once

#include "vibee/base/simd/v16.h"
#include "vibee/formats/integer/round_blocks.h"

namespace vibee {
namespace {

float inverse(float d) { return d == 0 ? 0.0f : 1.0f / d; }

/// Truncates to a code in 0..top; what is not a number becomes 0.
void store_truncated(V16 v, float top, uint8_t* codes) {
  v = v_min(v_max(v, v_zero()), v_set(top));
  const V16 near = v_round(v);
  v_store_i8(reinterpret_cast<int8_t*>(codes), v_select(v_less(v, near), near - v_set(1.0f), near));
}

/// Halves away from zero, within -127..127; what is not a number becomes -127.
void store_rounded(V16 v, int8_t* codes) {
  v = v_min(v_max(v, v_set(-127.0f)), v_set(127.0f));
  const V16 a = v_abs(v), near = v_round(a);
  const V16 away = v_select(v_less(a - near, v_set(0.5f)), near, near + v_set(1.0f));
  v_store_i8(codes, v_select(v_less(v, v_zero()), v_zero() - away, away));
}

float whole(const float* x, int8_t* codes) {
  const V16 a = v_load(x), b = v_load(x + 16);
  const float d = v_hmax(v_max(v_abs(a), v_abs(b))) / 127.0f;
  const V16 id = v_set(inverse(d));
  store_rounded(a * id, codes);
  store_rounded(b * id, codes + 16);
  return d;
}

float symmetric(const float* x, float middle, uint8_t* codes) {
  const V16 a = v_load(x), b = v_load(x + 16);
  const V16 most = v_set(v_hmax(v_max(v_abs(a), v_abs(b))));
  const uint32_t largest = ~(m_bits(v_less(v_abs(a), most)) | m_bits(v_less(v_abs(b), most)) << 16);
  const float d = x[largest ? __builtin_ctz(largest) : 0] / -middle;
  const V16 id = v_set(inverse(d)), half = v_set(middle + 0.5f);
  store_truncated(a * id + half, 2 * middle - 1, codes);
  store_truncated(b * id + half, 2 * middle - 1, codes + 16);
  return d;
}

float affine(const float* x, float top, float* low, uint8_t* codes) {
  const V16 a = v_load(x), b = v_load(x + 16);
  const float least = 0.0f - v_hmax(v_max(v_zero() - a, v_zero() - b)), most = v_hmax(v_max(a, b));
  const float d = (most - least) / top;
  const V16 id = v_set(inverse(d)), from = v_set(least), half = v_set(0.5f);
  store_truncated((a - from) * id + half, top, codes);
  store_truncated((b - from) * id + half, top, codes + 16);
  *low = least;
  return d;
}

}  // namespace
}  // namespace vibee
