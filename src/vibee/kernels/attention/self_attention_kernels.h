// SPDX-License-Identifier: Apache-2.0
// The backward pass on V16; included by self_attention_<isa>.cc only. Everything in it is one product of a block,
// c += a b, of which the five of the pass differ in what is transposed.
#pragma once

#include <cstring>

#include "vibee/kernels/attention/fold.h"
#include "vibee/kernels/attention/self_attention.h"
#include "vibee/kernels/attention/self_attention_backward.h"

namespace vibee {
namespace {

/// a(i, k) = p[i * row + k * column].
struct Strided {
  const float* p;
  uint64_t row, column;
};

/// c[i][j] += sum over ascending k of a(i, k) * b[k][j], one fma chain an element that begins with c; i < M, j < min(16
/// * W, left).
template <uint32_t M, uint32_t W>
void add_tile(Strided a, const float* b, uint64_t b_row, uint32_t depth, float* c, uint64_t c_row, uint32_t left) {
  V16 acc[M][W];
  const bool whole = left >= 16 * W;
#pragma GCC unroll 4
  for (uint32_t i = 0; i < M; ++i)
#pragma GCC unroll 4
    for (uint32_t w = 0; w < W; ++w)
      acc[i][w] = whole ? v_load(c + i * c_row + 16 * w) : v_load_n(c + i * c_row + 16 * w, int(left) - int(16 * w));
  const auto chain = [&](auto load) {
    for (uint32_t k = 0; k < depth; ++k) {
      V16 x[W];
#pragma GCC unroll 4
      for (uint32_t w = 0; w < W; ++w) x[w] = load(b + k * b_row, w);
#pragma GCC unroll 4
      for (uint32_t i = 0; i < M; ++i) {
        const V16 y = v_broadcast(a.p + i * a.row + k * a.column);
#pragma GCC unroll 4
        for (uint32_t w = 0; w < W; ++w) acc[i][w] = v_fma(y, x[w], acc[i][w]);
      }
    }
  };
  if (whole) {
    chain([](const float* p, uint32_t w) { return v_load(p + 16 * w); });
  } else {
    chain([&](const float* p, uint32_t w) { return v_load_n(p + 16 * w, int(left) - int(16 * w)); });
  }
#pragma GCC unroll 4
  for (uint32_t i = 0; i < M; ++i)
#pragma GCC unroll 4
    for (uint32_t w = 0; w < W; ++w) {
      if (whole)
        v_store(c + i * c_row + 16 * w, acc[i][w]);
      else
        v_store_n(c + i * c_row + 16 * w, acc[i][w], int(left) - int(16 * w));
    }
}

/// The same for m rows and n columns.
template <uint32_t W>
void add_product(Strided a, const float* b, uint64_t b_row, uint32_t m, uint32_t n, uint32_t depth, float* c,
                 uint64_t c_row) {
  for (uint32_t j = 0; j < n; j += 16 * W) {
    uint32_t i = 0;
    for (; i + 4 <= m; i += 4)
      add_tile<4, W>({a.p + i * a.row, a.row, a.column}, b + j, b_row, depth, c + i * c_row + j, c_row, n - j);
    for (; i < m; ++i)
      add_tile<1, W>({a.p + i * a.row, a.row, a.column}, b + j, b_row, depth, c + i * c_row + j, c_row, n - j);
  }
}

/// to[i][lane] = from[lane][i] for up to 64 rows; lanes without a row are zero.
inline void transpose_block(const float* from, uint64_t row, uint32_t rows, uint32_t d, float* to) {
  if (rows < kBackwardBlock) std::memset(to, 0, uint64_t(d) * kBackwardBlock * 4);
  for (uint32_t r = 0; r < rows; ++r)
    for (uint32_t i = 0; i < d; ++i) to[i * kBackwardBlock + r] = from[r * row + i];
}

template <uint32_t W>
void backward_item(const AttentionShape& shape, const SelfAttentionGradient& x, const AttentionItem& item,
                   uint8_t* scratch) {
  constexpr uint32_t kBlock = kBackwardBlock;
  const Document document = item.document;
  const uint32_t kv_head = item.kv_head;
  const uint32_t rows = document.end - document.begin, d = shape.head_dim, group = shape.group();
  const uint64_t kv_stride = uint64_t(shape.kv_heads) * d;
  auto* q = reinterpret_cast<float*>(scratch);
  float *g = q + kBlock * d, *dq = g + kBlock * d, *keys = dq + kBlock * d, *values = keys + kBlock * d;
  float *s = values + kBlock * d, *ds = s + kBlock * kBlock, *sum = ds + kBlock * kBlock, *mean = sum + kBlock;
  const uint64_t kv = uint64_t(document.begin) * kv_stride + kv_head * d;
  const uint32_t vectors = rows * group;  // row by row, the heads of a row side by side
  const Range my_rows = item.rows((vectors + kBlock - 1) / kBlock), my_keys = item.keys((rows + kBlock - 1) / kBlock);
  for (uint32_t r = my_keys.begin * kBlock; r < rows && r < my_keys.end * kBlock; ++r) {
    std::memset(x.dk + kv + r * kv_stride, 0, d * 4);
    std::memset(x.dv + kv + r * kv_stride, 0, d * 4);
  }
  const float to_log2 = shape.scale * kLog2E;
  for (uint32_t first = 0; first < vectors; first += kBlock) {
    const uint32_t low = first / group, block = first / kBlock;
    const bool mine = block >= my_rows.begin && block < my_rows.end;
    const uint32_t count = vectors - first < kBlock ? vectors - first : kBlock;
    const uint32_t last = (first + count - 1) / group;  // row of the document, as `low`
    if (!mine && (my_keys.begin >= my_keys.end || last < my_keys.begin * kBlock)) continue;
    const auto place = [&](uint32_t i) {  // of a vector among those of all rows and heads
      return (document.begin + (first + i) / group) * uint64_t(shape.heads) + kv_head * group + (first + i) % group;
    };
    for (uint32_t i = 0; i < count; ++i) {
      const uint64_t at = place(i) * d;
      std::memcpy(q + i * d, x.q + at, d * 4);
      std::memcpy(g + i * d, x.g + at, d * 4);
      V16 dot = v_zero();
      for (uint32_t c = 0; c < d; c += 16)
        dot = v_fma(v_load_n(x.g + at + c, int(d - c)), v_load_n(x.out + at + c, int(d - c)), dot);
      mean[i] = v_sum(dot);
      sum[i] = x.sums[place(i)];
    }
    std::memset(dq, 0, uint64_t(count) * d * 4);
    const uint32_t seen = shape.window != 0 && low + 1 > shape.window ? low + 1 - shape.window : 0;
    for (uint32_t key = seen / kBlock * kBlock; key <= last; key += kBlock) {
      const bool my_key = key / kBlock >= my_keys.begin && key / kBlock < my_keys.end;
      if (!mine && !my_key) continue;
      const uint32_t width = rows - key < kBlock ? rows - key : kBlock;
      const float *k = x.k + kv + key * kv_stride, *v = x.v + kv + key * kv_stride;
      transpose_block(k, kv_stride, width, d, keys);
      transpose_block(v, kv_stride, width, d, values);
      std::memset(s, 0, 2 * kBlock * kBlock * 4);
      add_product<W>({q, d, 1}, keys, kBlock, count, kBlock, d, s, kBlock);
      add_product<W>({g, d, 1}, values, kBlock, count, kBlock, d, ds, kBlock);
      for (uint32_t i = 0; i < count; ++i)
        for (uint32_t lane = 0; lane < kBlock; lane += 16) {
          float *score = s + i * kBlock + lane, *slope = ds + i * kBlock + lane;
          const V16 dot = v_load(score);
          V16 exponent = dot * v_set(to_log2), by = v_set(shape.scale);
          if (shape.soft_cap > 0) {
            const V16 t = v_tanh(dot * v_set(shape.scale) / v_set(shape.soft_cap));
            exponent = v_set(shape.soft_cap * kLog2E) * t;
            by = by * (v_set(1.0f) - t * t);
          }
          const M16 visible = m_from_bits(visible_bits(key + lane, (first + i) / group, shape.window));
          const V16 p = v_exp2(exponent - v_set(sum[i]));
          v_store(score, v_select(visible, p, v_zero()));
          v_store(slope, v_select(visible, p * (v_load(slope) - v_set(mean[i])) * by, v_zero()));
        }
      if (my_key) add_product<W>({s, 1, kBlock}, g, d, width, d, count, x.dv + kv + key * kv_stride, kv_stride);
      if (my_key) add_product<W>({ds, 1, kBlock}, q, d, width, d, count, x.dk + kv + key * kv_stride, kv_stride);
      if (mine) add_product<W>({ds, kBlock, 1}, k, kv_stride, count, d, width, dq, d);
    }
    for (uint32_t i = 0; mine && i < count; ++i) std::memcpy(x.dq + place(i) * d, dq + i * d, d * 4);
  }
}

}  // namespace
}  // namespace vibee
