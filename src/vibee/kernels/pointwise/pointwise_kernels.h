// SPDX-License-Identifier: Apache-2.0
// The row kernels of pointwise.h on V16; included by pointwise_<isa>.cc only.
#pragma once

#include <cstring>
#include <limits>

#include "vibee/kernels/pointwise/activated.h"
#include "vibee/kernels/pointwise/pointwise.h"

namespace vibee {
namespace {

void rms_norm(const float* x, const float* weight, uint32_t n, float eps, float* out) {
  V16 sum = v_zero();
  for (uint32_t i = 0; i < n; i += 16) {
    const V16 v = v_load_n(x + i, int(n - i));
    sum = v_fma(v, v, sum);
  }
  const float r = 1.0f / std::sqrt(v_sum(sum) / float(n) + eps);
  for (uint32_t i = 0; i < n; i += 16) {
    const int left = int(n - i);
    v_store_n(out + i, v_load_n(x + i, left) * v_set(r) * v_load_n(weight + i, left), left);
  }
}

void layer_norm(const float* x, const float* weight, const float* bias, uint32_t n, float eps, float* out) {
  V16 sum = v_zero();
  for (uint32_t i = 0; i < n; i += 16) sum = sum + v_load_n(x + i, int(n - i));
  const float mean = v_sum(sum) / float(n);
  V16 squares = v_zero();
  for (uint32_t i = 0; i < n; i += 16) {
    const uint32_t left = n - i;
    V16 v = v_load_n(x + i, int(left)) - v_set(mean);
    if (left < 16) v = v_select(m_from_bits((1u << left) - 1), v, v_zero());
    squares = v_fma(v, v, squares);
  }
  const float r = 1.0f / std::sqrt(v_sum(squares) / float(n) + eps);
  for (uint32_t i = 0; i < n; i += 16) {
    const int left = int(n - i);
    const V16 v = (v_load_n(x + i, left) - v_set(mean)) * v_set(r);
    v_store_n(out + i, v_fma(v, v_load_n(weight + i, left), v_load_n(bias + i, left)), left);
  }
}

void add(const float* a, const float* b, uint32_t n, float* out) {
  for (uint32_t i = 0; i < n; i += 16) {
    const int left = int(n - i);
    v_store_n(out + i, v_load_n(a + i, left) + v_load_n(b + i, left), left);
  }
}

void scale(const float* a, float s, uint32_t n, float* out) {
  for (uint32_t i = 0; i < n; i += 16) v_store_n(out + i, v_load_n(a + i, int(n - i)) * v_set(s), int(n - i));
}

void gated(Gate gate, const float* a, const float* b, uint32_t n, float* out) {
  for (uint32_t i = 0; i < n; i += 16) {
    const int left = int(n - i);
    const V16 x = v_load_n(a + i, left);
    v_store_n(out + i, activated(gate, x) * v_load_n(b + i, left), left);
  }
}

void activate(Gate gate, const float* a, uint32_t n, float* out) {
  for (uint32_t i = 0; i < n; i += 16) v_store_n(out + i, activated(gate, v_load_n(a + i, int(n - i))), int(n - i));
}

void rope(float* x, const float* cos, const float* sin, uint32_t pairs, bool split) {
  if (split) {
    for (uint32_t i = 0; i < pairs; i += 16) {
      const int left = int(pairs - i);
      const V16 a = v_load_n(x + i, left), b = v_load_n(x + pairs + i, left);
      const V16 c = v_load_n(cos + i, left), s = v_load_n(sin + i, left);
      v_store_n(x + i, a * c - b * s, left);
      v_store_n(x + pairs + i, a * s + b * c, left);
    }
    return;
  }
  for (uint32_t i = 0; i < pairs; ++i) {
    const float a = x[2 * i], b = x[2 * i + 1];
    x[2 * i] = a * cos[i] - b * sin[i];
    x[2 * i + 1] = a * sin[i] + b * cos[i];
  }
}

float largest(const float* x, uint32_t n) {
  V16 most = v_zero(), finite = v_zero();
  for (uint32_t i = 0; i < n; i += 16) {
    const V16 a = v_load(x + i);
    most = v_max(most, v_abs(a));
    finite = finite + (a - a);  // NaN is not ordered, so look for it apart: x - x is 0 for finite x only
  }
  const bool all = m_bits(v_less(v_abs(finite), v_set(1.0f))) == 0xffff;
  return all ? v_hmax(most) : std::numeric_limits<float>::quiet_NaN();
}

/// A block by levels / amax, codes in low .. levels; amax may be less than the largest magnitude where that clips.
template <int kLevels, bool kClips>
void quantize_block_by(const float* x, float amax, int8_t* q, float* da, float* das, int32_t* ns, int32_t* ns0) {
  constexpr float kHigh = kLevels;
  const V16 a = v_load(x), b = v_load(x + 16);
  if (amax != amax) [[unlikely]] {
    for (int i = 0; i < 32; ++i) q[i] = 0;
    *da = *das = std::numeric_limits<float>::quiet_NaN();
    *ns = *ns0 = 0;
    return;
  }
  // 127/amax overflows for amax below 4e-37: such a block is zero to f32 accuracy of any sum it enters.
  const bool zero = amax < 1e-36f;
  const float id = zero ? 0.0f : kHigh / amax;
  V16 qa = v_round(a * v_set(id)), qb = v_round(b * v_set(id));
  if constexpr (kClips) {
    qa = v_max(v_min(qa, v_set(kHigh)), v_set(-kHigh - 1));
    qb = v_max(v_min(qb, v_set(kHigh)), v_set(-kHigh - 1));
  }
  v_store_i8(q, qa);
  v_store_i8(q + 16, qb);
  const float first = v_sum(qa), last = v_sum(qb);  // whole numbers below 2^12: exact
  *da = amax / kHigh;
  *das = *da * (first + last);
  *ns = -int32_t(first + last);
  *ns0 = -int32_t(first);
}
void quantize_by(const float* x, float amax, int8_t* q, float* da, float* das, int32_t* ns, int32_t* ns0) {
  quantize_block_by<127, false>(x, amax, q, da, das, ns, ns0);
}
void quantize4_by(const float* x, float amax, int8_t* q, float* da, float* das, int32_t* ns, int32_t* ns0) {
  constexpr float kClip = 0.9f;  // Atom (arXiv:2310.19102), section 5.1
  quantize_block_by<7, true>(x, kClip * amax, q, da, das, ns, ns0);
}

void quantize_block(const float* x, int8_t* q, float* da, float* das, int32_t* ns, int32_t* ns0) {
  quantize_by(x, largest(x, 32), q, da, das, ns, ns0);
}

float max(const float* x, uint32_t n) {
  V16 best = v_set(-INFINITY);
  uint32_t i = 0;
  for (; i + 16 <= n; i += 16) best = v_max(v_load(x + i), best);
  float m = v_hmax(best);
  for (; i < n; ++i) m = x[i] > m ? x[i] : m;
  return m;
}

uint32_t argmax(const float* x, uint32_t n) {
  const float m = max(x, n);
  for (uint32_t i = 0; i < n; ++i)
    if (x[i] == m) return i;
  return 0;
}

float sum_exp(const float* x, uint32_t n, float shift) {
  V16 sum = v_zero();
  for (uint32_t i = 0; i < n; i += 16) {
    const int left = int(n - i);
    V16 e = v_exp(v_load_n(x + i, left) - v_set(shift));
    if (left < 16) e = v_select(m_from_bits((1u << left) - 1), e, v_zero());
    sum = sum + e;
  }
  return v_sum(sum);
}

void soft_cap(const float* x, float cap, uint32_t n, float* out) {
  for (uint32_t i = 0; i < n; i += 16) {
    const int left = int(n - i);
    v_store_n(out + i, v_set(cap) * v_tanh(v_load_n(x + i, left) / v_set(cap)), left);
  }
}

template <auto Store>
void narrow(const float* x, uint32_t n, uint16_t* out) {
  uint32_t i = 0;
  for (; i + 16 <= n; i += 16) Store(out + i, v_load(x + i));
  if (i == n) return;
  uint16_t tile[16];
  Store(tile, v_load_n(x + i, int(n - i)));
  std::memcpy(out + i, tile, (n - i) * 2);
}
template <auto Load>
void widen(const uint16_t* x, uint32_t n, float* out) {
  uint32_t i = 0;
  for (; i + 16 <= n; i += 16) v_store(out + i, Load(x + i));
  if (i == n) return;
  uint16_t tile[16] = {};
  std::memcpy(tile, x + i, (n - i) * 2);
  v_store_n(out + i, Load(tile), int(n - i));
}

template <int R, int J>
void lora_down_tile(const float* x, uint32_t k, const float* a, float by, float* h, uint32_t width) {
  V16 sum[R][J];
  for (int r = 0; r < R; ++r)
    for (int j = 0; j < J; ++j) sum[r][j] = v_zero();
  for (uint32_t i = 0; i < k; i += 16) {
    const int left = int(k - i);
    V16 row[R];
    for (int r = 0; r < R; ++r) row[r] = v_load_n(x + uint64_t(r) * k + i, left);
    for (int j = 0; j < J; ++j) {
      const V16 column = v_load_n(a + uint64_t(j) * k + i, left);
      for (int r = 0; r < R; ++r) sum[r][j] = v_fma(row[r], column, sum[r][j]);
    }
  }
  for (int r = 0; r < R; ++r)
    for (int j = 0; j < J; ++j) h[uint64_t(r) * width + uint32_t(j)] = by * v_sum(sum[r][j]);
}

template <int R>
void lora_down_rows(const float* x, uint32_t k, const float* a, uint32_t rank, float by, float* h, uint32_t width) {
  uint32_t j = 0;
  for (; j + 2 <= rank; j += 2) lora_down_tile<R, 2>(x, k, a + uint64_t(j) * k, by, h + j, width);
  if (j < rank) lora_down_tile<R, 1>(x, k, a + uint64_t(j) * k, by, h + j, width);
}

void lora_down(const float* x, uint32_t rows, uint32_t k, const float* a, uint32_t rank, float by, float* h,
               uint32_t width) {
  uint32_t r = 0;
  for (; r + 2 <= rows; r += 2) lora_down_rows<2>(x + uint64_t(r) * k, k, a, rank, by, h + uint64_t(r) * width, width);
  if (r < rows) lora_down_rows<1>(x + uint64_t(r) * k, k, a, rank, by, h + uint64_t(r) * width, width);
}

template <int R>
void lora_up_rows(const float* h, uint32_t width, uint32_t rank, const float* b, uint64_t b_stride, uint32_t columns,
                  float* y, uint64_t stride) {
  for (uint32_t c = 0; c < columns; c += 16) {
    const int left = int(columns - c);
    V16 sum[R];
    for (int r = 0; r < R; ++r) sum[r] = v_zero();
    for (uint32_t j = 0; j < rank; ++j) {
      const V16 column = v_load_n(b + j * b_stride + c, left);
      for (int r = 0; r < R; ++r) sum[r] = v_fma(v_set(h[uint64_t(r) * width + j]), column, sum[r]);
    }
    for (int r = 0; r < R; ++r) {
      float* to = y + uint64_t(r) * stride + c;
      v_store_n(to, v_load_n(to, left) + sum[r], left);
    }
  }
}

void lora_up(const float* h, uint32_t rows, uint32_t width, uint32_t rank, const float* b, uint64_t b_stride,
             uint32_t columns, float* y, uint64_t stride) {
  uint32_t r = 0;
  for (; r + 4 <= rows; r += 4)
    lora_up_rows<4>(h + uint64_t(r) * width, width, rank, b, b_stride, columns, y + r * stride, stride);
  for (; r < rows; ++r)
    lora_up_rows<1>(h + uint64_t(r) * width, width, rank, b, b_stride, columns, y + r * stride, stride);
}

constexpr PointwiseKernels kTable = {rms_norm,
                                     layer_norm,
                                     add,
                                     scale,
                                     gated,
                                     activate,
                                     rope,
                                     quantize_block,
                                     largest,
                                     quantize_by,
                                     quantize4_by,
                                     argmax,
                                     max,
                                     sum_exp,
                                     soft_cap,
                                     narrow<v_store_half>,
                                     widen<v_load_half>,
                                     narrow<v_store_bf16>,
                                     widen<v_load_bf16>,
                                     lora_down,
                                     lora_up};

}  // namespace
}  // namespace vibee
