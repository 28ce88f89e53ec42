// SPDX-License-Identifier: Apache-2.0
// The fold for many query vectors at once, with queries, keys, weights and values rounded to bf16, by tiles of AMX
// (TDPBF16PS): what `--act bf16` makes of prompts. A page of keys becomes pairs of dimensions, [d / 2][16 keys][2], two
// pages of values pairs of keys, [16 pairs][16 dimensions][2]; scores, maxima and sums stay f32. Outside the promise of
// equal bytes: fewer vectors are computed by the canonical kernels.
#include "vibee/kernels/attention/fold.h"

namespace vibee {
namespace {

constexpr uint32_t kMost = kMaxQueryTile, kMostTiles = kMost / 16;
static_assert(kMost % 16 == 0 && kMostTiles == 3, "tiles 0 to 2 have sums");

struct alignas(64) TileShapes {
  uint8_t palette = 1, start = 0, reserved[14] = {};
  uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
constexpr TileShapes kShapes;

struct TileScratch {
  alignas(64) uint16_t q[kMostTiles][kMaxHeadDim / 32][16][32];
  alignas(64) float s[kMost][kSplitKeys];
  alignas(64) uint16_t weights[kMostTiles][kSplitKeys / 32][16][32];
  alignas(64) uint32_t pairs[kMaxHeadDim / 2][16];  // of a page's keys, or of two pages' values
  alignas(64) float out[kMostTiles][16][16];
};

/// 32 numbers in order, and lanes of two vectors beside one another.
inline __m512i to_bf16(V16 first, V16 second) { return (__m512i)_mm512_cvtne2ps_pbh(second, first); }
inline __m512i to_bf16_pairs(V16 first, V16 second) {
  alignas(64) static constexpr uint16_t kBeside[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                       8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  return _mm512_permutexvar_epi16(_mm512_load_si512(kBeside), to_bf16(first, second));
}

/// Sums of tile 0, of 1 and 2 where there are so many, go on with rows of a times the pairs in tile 6.
template <uint32_t kTiles>
inline void multiply(const uint16_t* a, uint64_t next) {
  _tile_loadd(3, a, 64);
  _tile_dpbf16ps(0, 3, 6);
  if constexpr (kTiles > 1) {
    _tile_loadd(4, a + next, 64);
    _tile_dpbf16ps(1, 4, 6);
  }
  if constexpr (kTiles > 2) {
    _tile_loadd(5, a + 2 * next, 64);
    _tile_dpbf16ps(2, 5, 6);
  }
}
template <uint32_t kTiles>
inline void store_tiles(float* to, uint64_t next, uint64_t stride) {
  _tile_stored(0, to, stride);
  if constexpr (kTiles > 1) _tile_stored(1, to + next, stride);
  if constexpr (kTiles > 2) _tile_stored(2, to + 2 * next, stride);
}
inline void clear_tiles() {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
}
/// GCC's loads of tiles do not say that they read memory.
inline void memory_is_written() { asm volatile("" ::: "memory"); }

template <KvFormat F, uint32_t kTiles>
[[gnu::flatten]] void split_tiles(const AttentionShape& shape, const KvView& kv, const QueryTile& tile, uint32_t split,
                                  TileScratch& t, FoldState* part) {
  const uint32_t d = shape.head_dim, heads = tile.heads, count = tile.rows * heads, deep = (d + 31) / 32;
  const uint32_t kv_head = tile.head / shape.group();
  const SplitPages seen = split_pages(shape, tile, split);
  const uint32_t step = seen.step, first_page = seen.first_page, end_page = seen.end_page, origin = seen.origin;
  const uint32_t keys = seen.end - origin;
  const float to_log2 = shape.scale * kLog2E;

  for (uint32_t m = 0; m < 16 * kTiles; ++m) {
    const uint32_t row = tile.list && m < count ? tile.list[m / heads] : m / heads;
    const float* const q = tile.q + uint64_t(row) * tile.stride + (tile.head + m % heads) * d;
    for (uint32_t k = 0; k < deep; ++k) {
      const int left = m < count ? int(d - 32 * k) : 0;
      const V16 first = left > 0 ? v_load_n(q + 32 * k, left) : v_zero();
      const V16 second = left > 16 ? v_load_n(q + 32 * k + 16, left - 16) : v_zero();
      _mm512_store_si512(t.q[m / 16][k][m % 16], to_bf16(first, second));
    }
  }
  for (uint32_t page = first_page; page < end_page; ++page) {
    const KeyPage<F> stored{kv.key(tile.pages[page], kv_head), d};
    for (uint32_t i = 0; i < 16 * deep; ++i)
      _mm512_store_si512(t.pairs[i], to_bf16_pairs(2 * i < d ? stored.at(2 * i) : v_zero(),
                                                   2 * i + 1 < d ? stored.at(2 * i + 1) : v_zero()));
    memory_is_written();
    clear_tiles();
    for (uint32_t k = 0; k < deep; ++k) {
      _tile_loadd(6, t.pairs[16 * k], 64);
      multiply<kTiles>(&t.q[0][k][0][0], sizeof t.q[0] / 2);
    }
    store_tiles<kTiles>(&t.s[0][page * kPageTokens - origin], 16 * kSplitKeys, kSplitKeys * 4);
  }
  const uint32_t width = (end_page - first_page) * kPageTokens;
  for (uint32_t m = 0; m < count; ++m) {
    const uint32_t position = tile.first + m / heads * step;
    V16 best = v_set(-INFINITY);
    for (uint32_t i = 0; i < width; i += 16) {
      const V16 dot = v_load(&t.s[m][i]);
      V16 s = shape.soft_cap > 0
                  ? v_set(shape.soft_cap * kLog2E) * v_tanh(dot * v_set(shape.scale) / v_set(shape.soft_cap))
                  : dot * v_set(to_log2);
      const uint32_t bits = visible_bits(origin + i, position, shape.window);
      if (bits != 0xffff) s = v_select(m_from_bits(bits), s, v_set(-INFINITY));
      v_store(&t.s[m][i], s);
      best = v_max(best, s);
    }
    const float top = v_hmax(best);
    V16 sum = v_zero();
    for (uint32_t i = 0; i < width; i += 32) {
      V16 p[2] = {v_zero(), v_zero()};
      for (uint32_t half = 0; half < 2 && i + 16 * half < width; ++half) {
        if (top != -INFINITY) p[half] = v_exp2(v_load(&t.s[m][i + 16 * half]) - v_set(top));
        sum = sum + p[half];
      }
      _mm512_store_si512(t.weights[m / 16][i / 32][m % 16], to_bf16(p[0], p[1]));
    }
    part[m].m = top;
    part[m].l = v_sum(sum);
  }
  for (uint32_t m = count; m < 16 * kTiles; ++m)
    for (uint32_t i = 0; i < width; i += 32)
      _mm512_store_si512(t.weights[m / 16][i / 32][m % 16], _mm512_setzero_si512());
  for (uint32_t i = 0; i < d; i += 16) {
    clear_tiles();
    for (uint32_t at = 0; at < width; at += 32) {
      for (uint32_t pair = 0; pair < 16; ++pair) {
        const uint32_t key = at + 2 * pair;
        const auto value = [&](uint32_t of) {  // what lies behind the last key is nobody's
          if (of >= keys) return v_zero();
          return ValuePage<F>{kv.value(tile.pages[first_page + of / kPageTokens], kv_head), d}.at(of % kPageTokens, i);
        };
        _mm512_store_si512(t.pairs[pair], to_bf16_pairs(value(key), value(key + 1)));
      }
      memory_is_written();
      _tile_loadd(6, t.pairs[0], 64);
      multiply<kTiles>(&t.weights[0][at / 32][0][0], sizeof t.weights[0] / 2);
    }
    store_tiles<kTiles>(&t.out[0][0][0], 256, 64);
    for (uint32_t m = 0; m < count; ++m) v_store_n(part[m].o + i, v_load(t.out[m / 16][m % 16]), int(d - i));
  }
}

template <KvFormat F>
void split_many(const AttentionShape& shape, const KvView& kv, const QueryTile& tile, uint32_t split, FoldState* part) {
  TileScratch t;
  _tile_loadconfig(&kShapes);
  const uint32_t count = tile.rows * tile.heads;
  if (count <= 16) return split_tiles<F, 1>(shape, kv, tile, split, t, part);
  if (count <= 32) return split_tiles<F, 2>(shape, kv, tile, split, t, part);
  split_tiles<F, 3>(shape, kv, tile, split, t, part);
}

}  // namespace

#define VIBEE_TILE_ATTENTION(symbol, kv_format)                                                          \
  void symbol##_split(const AttentionShape& shape, const KvView& kv, const QueryTile& q, uint32_t split, \
                      FoldState* part) {                                                                 \
    split_many<kv_format>(shape, kv, q, split, part);                                                    \
  }                                                                                                      \
  void symbol##_fold(uint32_t head_dim, const FoldState& part, FoldState* state) {                       \
    fold_state(head_dim, part, state);                                                                   \
  }                                                                                                      \
  void symbol##_finish(uint32_t head_dim, const FoldState& state, float* out) { finish_state(head_dim, state, out); }
VIBEE_TILE_ATTENTION(attend_f32_bf16_amx, KvFormat::f32)
VIBEE_TILE_ATTENTION(attend_f16_bf16_amx, KvFormat::f16)
VIBEE_TILE_ATTENTION(attend_q8_0_bf16_amx, KvFormat::q8_0)
VIBEE_TILE_ATTENTION(attend_int4_bf16_amx, KvFormat::int4)
#undef VIBEE_TILE_ATTENTION

}  // namespace vibee
