// SPDX-License-Identifier: Apache-2.0
// The fold on V16; the only definition of the attention arithmetic (attention.h). Included by
// memory_efficient_attn_<isa>.cc only.
#pragma once

#include <cstring>

#include "vibee/base/simd/v16.h"
#include "vibee/kernels/attention/attention.h"

namespace vibee {
namespace {

/// The lower nibbles of sixteen bytes, or the upper ones.
inline V16 nibbles(const uint8_t* p, bool upper) {
  static constexpr float kNumbers[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return upper ? v_look_up<true>(p, kNumbers) : v_look_up<false>(p, kNumbers);
}

/// Sixteen keys at dimension i of a key page.
template <KvFormat F>
struct KeyPage {
  const uint8_t* p;
  uint32_t head_dim;
  V16 at(uint32_t i) const {
    if constexpr (F == KvFormat::f32) return v_load(reinterpret_cast<const float*>(p) + 16 * i);
    if constexpr (F == KvFormat::f16) return v_load_half(reinterpret_cast<const uint16_t*>(p) + 16 * i);
    if constexpr (F == KvFormat::q8_0) {
      const V16 scale = v_load_half(reinterpret_cast<const uint16_t*>(p) + 16 * (i / 32));
      return v_load_i8(reinterpret_cast<const int8_t*>(p) + head_dim + 16 * i) * scale;
    }
    if constexpr (F == KvFormat::int4) {
      const auto* halves = reinterpret_cast<const uint16_t*>(p);
      return v_fma(nibbles(p + 4 * kPageTokens + 16 * (i / 2), i % 2), v_load_half(halves),
                   v_load_half(halves + kPageTokens));
    }
  }
};
/// Sixteen dimensions i .. i+15 of key `lane` of a value page.
template <KvFormat F>
struct ValuePage {
  const uint8_t* p;
  uint32_t head_dim;
  V16 at(uint32_t lane, uint32_t i) const {
    if constexpr (F == KvFormat::f32) return v_load(reinterpret_cast<const float*>(p) + lane * head_dim + i);
    if constexpr (F == KvFormat::f16) return v_load_half(reinterpret_cast<const uint16_t*>(p) + lane * head_dim + i);
    if constexpr (F == KvFormat::q8_0) {
      const float scale = half_scale(reinterpret_cast<const uint16_t*>(p)[lane * (head_dim / 32) + i / 32]);
      return v_load_i8(reinterpret_cast<const int8_t*>(p) + head_dim + lane * head_dim + i) * v_set(scale);
    }
    if constexpr (F == KvFormat::int4) {
      const auto* halves = reinterpret_cast<const uint16_t*>(p) + lane;
      return v_fma(nibbles(p + 4 * kPageTokens + lane * head_dim / 2 + 16 * (i / 32), i / 16 % 2),
                   v_set(half_scale(halves[0])), v_set(half_scale(halves[kPageTokens])));
    }
  }
  static float half_scale(uint16_t h) {
    uint16_t both[16] = {h};
    float f[16];
    v_store(f, v_load_half(both));
    return f[0];
  }
};

constexpr uint32_t kMostVectors = 12;  ///< of a call
struct Scratch {
  alignas(64) float q[kMostVectors][kMaxHeadDim];
  alignas(64) float s[kMostVectors][kSplitKeys];
};

/// Keys of one row visible inside sixteen positions from `base`, as bits.
inline uint32_t visible_bits(uint32_t base, uint32_t position, uint32_t window) {
  const int32_t last = int32_t(position) - int32_t(base);  // lanes 0 .. last
  uint32_t bits = last >= 15 ? 0xffffu : last < 0 ? 0u : (1u << (last + 1)) - 1;
  if (window != 0) {
    const int32_t first = int32_t(position) + 1 - int32_t(window) - int32_t(base);
    if (first > 15) return 0;
    if (first > 0) bits &= 0xffffu << first;
  }
  return bits;
}

/// What of a split the rows of a tile see.
struct SplitPages {
  uint32_t step;                  ///< from a row's last key to the next row's
  uint32_t first_page, end_page;  ///< of the sequence
  uint32_t origin, end;           ///< the first page's first position, and the one behind the last that is seen
};
inline SplitPages split_pages(const AttentionShape& shape, const QueryTile& tile, uint32_t split) {
  const uint32_t low_key = shape.window != 0 && tile.first + 1 > shape.window ? tile.first + 1 - shape.window : 0;
  const uint32_t begin = split * kSplitKeys > low_key ? split * kSplitKeys : low_key;
  const uint32_t step = shape.causal ? 1 : 0;
  const uint32_t last = tile.first + (tile.rows - 1) * step, limit = (split + 1) * kSplitKeys;
  const uint32_t end = last + 1 < limit ? last + 1 : limit, first_page = begin / kPageTokens;
  return {step, first_page, (end + kPageTokens - 1) / kPageTokens, first_page * kPageTokens, end};
}

/// Flattened: a function of a header that is left a call would be a weak symbol with this instruction set (check_isa).
template <KvFormat F, uint32_t M>
[[gnu::flatten]] void split_rows(const AttentionShape& shape, const KvView& kv, const QueryTile& tile, uint32_t split,
                                 Scratch& t, FoldState* part) {
  // Query vectors at a time, and sixteens of dimensions of each, whose sums stay in registers.
  constexpr uint32_t kRows = M <= kV16Sums ? M : M / 2;
  constexpr uint32_t kWide = kV16Sums / kRows >= 4 ? 4 : kV16Sums / kRows >= 2 ? 2 : 1;
  static_assert(M % kRows == 0 && kRows <= kV16Sums);
  const uint32_t d = shape.head_dim, heads = tile.heads, count = tile.rows * heads;
  const uint32_t kv_head = tile.head / shape.group();
  const SplitPages seen = split_pages(shape, tile, split);
  const uint32_t step = seen.step, first_page = seen.first_page, end_page = seen.end_page, origin = seen.origin;
  const float to_log2 = shape.scale * kLog2E;

  for (uint32_t page = first_page; page < end_page; ++page) {
    const KeyPage<F> keys{kv.key(tile.pages[page], kv_head), d};
    V16 dots[M];
    for (uint32_t first = 0; first < M; first += kRows) {
      V16 acc[kRows];
#pragma GCC unroll 12
      for (uint32_t m = 0; m < kRows; ++m) acc[m] = v_zero();
      for (uint32_t i = 0; i < d; ++i) {
        const V16 k = keys.at(i);
#pragma GCC unroll 12
        for (uint32_t m = 0; m < kRows; ++m) acc[m] = v_fma(v_broadcast(&t.q[first + m][i]), k, acc[m]);
      }
#pragma GCC unroll 12
      for (uint32_t m = 0; m < kRows; ++m) dots[first + m] = acc[m];
    }
    const uint32_t base = page * kPageTokens;
    for (uint32_t m = 0; m < M; ++m) {
      V16 s = shape.soft_cap > 0
                  ? v_set(shape.soft_cap * kLog2E) * v_tanh(dots[m] * v_set(shape.scale) / v_set(shape.soft_cap))
                  : dots[m] * v_set(to_log2);
      const uint32_t position = tile.first + (m < count ? m / heads : 0) * step;
      const uint32_t bits = visible_bits(base, position, shape.window);
      if (bits != 0xffff) s = v_select(m_from_bits(bits), s, v_set(-INFINITY));
      v_store(&t.s[m][base - origin], s);
    }
  }
  const uint32_t width = (end_page - first_page) * kPageTokens;
  for (uint32_t m = 0; m < count; ++m) {
    V16 best = v_set(-INFINITY);
    for (uint32_t i = 0; i < width; i += 16) best = v_max(best, v_load(&t.s[m][i]));
    const float top = v_hmax(best);
    V16 sum = v_zero();
    for (uint32_t i = 0; i < width; i += 16) {
      const V16 p = top == -INFINITY ? v_zero() : v_exp2(v_load(&t.s[m][i]) - v_set(top));
      v_store(&t.s[m][i], p);
      sum = sum + p;
    }
    part[m].m = top;
    part[m].l = v_sum(sum);
  }
  const uint32_t keys = seen.end - origin;
  uint32_t i = 0;
  const auto values = [&]<uint32_t W>() {
    for (uint32_t first = 0; first < M; first += kRows) {
      V16 acc[kRows][W];
#pragma GCC unroll 12
      for (uint32_t m = 0; m < kRows; ++m)
#pragma GCC unroll 4
        for (uint32_t w = 0; w < W; ++w) acc[m][w] = v_zero();
      for (uint32_t page = first_page; page < end_page; ++page) {
        const ValuePage<F> page_values{kv.value(tile.pages[page], kv_head), d};
        const uint32_t at = page * kPageTokens - origin, lanes = keys - at < kPageTokens ? keys - at : kPageTokens;
        for (uint32_t lane = 0; lane < lanes; ++lane) {
          V16 v[W];
#pragma GCC unroll 4
          for (uint32_t w = 0; w < W; ++w) v[w] = page_values.at(lane, i + 16 * w);
#pragma GCC unroll 12
          for (uint32_t m = 0; m < kRows; ++m) {
            const V16 p = v_broadcast(&t.s[first + m][at + lane]);
#pragma GCC unroll 4
            for (uint32_t w = 0; w < W; ++w) acc[m][w] = v_fma(p, v[w], acc[m][w]);
          }
        }
      }
#pragma GCC unroll 12
      for (uint32_t m = 0; m < kRows; ++m) {
        if (first + m >= count) break;
#pragma GCC unroll 4
        for (uint32_t w = 0; w < W; ++w) v_store_n(part[first + m].o + i + 16 * w, acc[m][w], int(d - i - 16 * w));
      }
    }
    i += 16 * W;
  };
  while (i + 16 * kWide <= d) values.template operator()<kWide>();
  while (i < d) values.template operator()<1>();
}

template <KvFormat F, uint32_t kTile>
void split_any(const AttentionShape& shape, const KvView& kv, const QueryTile& tile, uint32_t split, FoldState* part) {
  static_assert(kTile == 4 || kTile == kMostVectors);
  Scratch t;
  const uint32_t count = tile.rows * tile.heads;
  for (uint32_t m = 0; m < count; ++m) {
    const uint32_t row = tile.list ? tile.list[m / tile.heads] : m / tile.heads;
    std::memcpy(t.q[m], tile.q + uint64_t(row) * tile.stride + (tile.head + m % tile.heads) * shape.head_dim,
                shape.head_dim * 4);
  }
  const uint32_t padded = count <= 4 ? count : count <= 6 ? 6 : count <= 8 ? 8 : 12;
  for (uint32_t m = count; m < padded; ++m) std::memset(t.q[m], 0, shape.head_dim * 4);
  // The scores of padding rows are read by the value loop: keep them finite.
  for (uint32_t m = count; m < padded; ++m) std::memset(t.s[m], 0, sizeof t.s[m]);
  switch (padded) {
    case 1: return split_rows<F, 1>(shape, kv, tile, split, t, part);
    case 2: return split_rows<F, 2>(shape, kv, tile, split, t, part);
    case 3: return split_rows<F, 3>(shape, kv, tile, split, t, part);
    case 4: return split_rows<F, 4>(shape, kv, tile, split, t, part);
  }
  if constexpr (kTile == 12) {
    if (padded == 6) return split_rows<F, 6>(shape, kv, tile, split, t, part);
    if (padded == 8) return split_rows<F, 8>(shape, kv, tile, split, t, part);
    split_rows<F, 12>(shape, kv, tile, split, t, part);
  }
}

inline void fold_state(uint32_t d, const FoldState& part, FoldState* state) {
  if (part.m == -INFINITY) return;
  const float m = part.m > state->m ? part.m : state->m;
  float e[16];
  v_store(e, v_exp2(v_load_n(&state->m, 1) - v_set(m)));
  const float a = state->m == -INFINITY ? 0.0f : e[0];
  v_store(e, v_exp2(v_load_n(&part.m, 1) - v_set(m)));
  const float b = e[0];
  v_store_n(e, v_fma(v_set(part.l), v_set(b), v_set(state->l) * v_set(a)), 1);
  state->l = e[0];
  for (uint32_t i = 0; i < d; i += 16) {
    const int left = int(d - i);
    v_store_n(state->o + i, v_fma(v_load_n(part.o + i, left), v_set(b), v_load_n(state->o + i, left) * v_set(a)), left);
  }
  state->m = m;
}

inline void finish_state(uint32_t d, const FoldState& state, float* out) {
  for (uint32_t i = 0; i < d; i += 16) {
    const int left = int(d - i);
    v_store_n(out + i, state.l > 0 ? v_load_n(state.o + i, left) / v_set(state.l) : v_zero(), left);
  }
}

}  // namespace
}  // namespace vibee

/// The three functions of one row of kernels.inc.
#define VIBEE_ATTENTION(symbol, kv_format, tile)                                                         \
  void symbol##_split(const AttentionShape& shape, const KvView& kv, const QueryTile& q, uint32_t split, \
                      FoldState* part) {                                                                 \
    split_any<kv_format, tile>(shape, kv, q, split, part);                                               \
  }                                                                                                      \
  void symbol##_fold(uint32_t head_dim, const FoldState& part, FoldState* state) {                       \
    fold_state(head_dim, part, state);                                                                   \
  }                                                                                                      \
  void symbol##_finish(uint32_t head_dim, const FoldState& state, float* out) { finish_state(head_dim, state, out); }
