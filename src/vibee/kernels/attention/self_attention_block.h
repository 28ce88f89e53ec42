// SPDX-License-Identifier: Apache-2.0
// Attention of a training step and its gradients by fma (self_attention_launch.h). Sixteen groups of sixteen threads
// have some rows of a tile each; of a product of rows with rows a thread has every sixteenth column, of one with
// columns four side by side.
#pragma once

#include "vibee/core/device/block_log2.h"
#include "vibee/kernels/attention/attention_block.h"
#include "vibee/kernels/attention/self_attention_launch.h"

// Loops whose copies would take the registers that the chains lie in.
#ifdef __CUDACC__
#define VIBEE_ROLLED _Pragma("unroll 1")
#else
#define VIBEE_ROLLED
#endif

namespace vibee {

/// Vectors and keys of a tile, and what registers are there for: the largest head dimension.
template <uint32_t Tile, uint32_t Most>
struct SelfTile {
  static constexpr uint32_t kTile = Tile, kEach = Tile / 16, kWide = Most / 64;
};
constexpr uint32_t kSideBySide = 4, kLanes = 16;

/// Where the document of a block is, and what its vectors see.
struct SelfDocument {
  SelfAttentionTile tile;
  uint32_t heads, kv_heads, head_dim, window, group, kv_head, rows;

  template <class Block>
  VIBEE_BLOCK SelfDocument(Block& b, const SelfAttentionTile* tiles, const SelfAttentionSizes& sizes)
      : heads(sizes.heads),
        kv_heads(sizes.kv_heads),
        head_dim(sizes.head_dim),
        window(sizes.window),
        group(sizes.heads / sizes.kv_heads),
        kv_head(b.block_y()) {
    const auto* words = reinterpret_cast<const uint32_t*>(tiles);
    const uint64_t at = uint64_t(b.block_x()) * (sizeof(SelfAttentionTile) / sizeof(uint32_t));
    tile = {b.load(words, at), b.load(words, at + 1), b.load(words, at + 2)};
    rows = tile.end - tile.begin;
  }
  VIBEE_BLOCK uint32_t vectors() const { return rows * group; }
  /// Row and head of a vector among those of all rows; times head_dim, its first number.
  VIBEE_BLOCK uint64_t vector(uint32_t v) const {
    return uint64_t(tile.begin + v / group) * heads + kv_head * group + v % group;
  }
  VIBEE_BLOCK uint64_t key(uint32_t k) const { return uint64_t(tile.begin + k) * kv_heads + kv_head; }
  VIBEE_BLOCK KeyRange seen(uint32_t v) const {
    if (v >= vectors()) return {0, 0};
    return {first_key(v / group, window), v / group + 1};
  }
};

/// Behind the last row that sees any of the `width` keys from `first` on.
VIBEE_BLOCK uint32_t rows_that_see(const SelfDocument& doc, uint32_t first, uint32_t width) {
  const uint32_t behind = first + width - 1 + doc.window;
  return doc.window != 0 && behind < doc.rows ? behind : doc.rows;
}

/// Rows of head_dim floats in shared memory.
template <class Block, class Size>
struct RowTile {
  using Room = decltype(dynamic_array<float>(*static_cast<Block*>(nullptr), 1));
  Room room;
  uint32_t head_dim, stride;

  VIBEE_BLOCK RowTile(Block& b, uint32_t d)
      : room(dynamic_array<float>(b, Size::kTile * self_attention_stride(d))),
        head_dim(d),
        stride(self_attention_stride(d)) {}
  /// Row r is that of p with the number place(r), for r below `count`; the others are zeros.
  template <class Place>
  VIBEE_BLOCK void fetch(Block& b, const void* rows, uint32_t count, Place&& place) const {
    const uint32_t vectors = head_dim / kSideBySide;
    const auto* p = static_cast<const float*>(rows);
    const bool aligned = begins_a_vector(p);
    for (uint32_t x = b.thread(); x < Size::kTile * vectors; x += b.threads()) {
      const uint32_t r = x / vectors, i = x % vectors * kSideBySide;
      Vector16<float> v = {};
      if (r < count) {
        const uint64_t at = place(r) * head_dim + i;
        if (aligned)
          v = b.load16(p, at);
        else
          for (uint32_t j = 0; j < kSideBySide; ++j) v.at[j] = b.load(p, at + j);
      }
      b.store16(room, r * stride + i, v);
    }
  }
};

template <class Size>
using Dots = float[Size::kEach][Size::kEach];
template <class Size>
using Chains = float[Size::kEach][Size::kWide][kSideBySide];

/// dots[i][j] = rows kEach * group + i of a by lane + 16 j of c, an fma chain over ascending dimensions.
template <class Block, class Size>
VIBEE_BLOCK void multiply_rows(Block& b, const RowTile<Block, Size>& a, const RowTile<Block, Size>& c,
                               Dots<Size>& dots) {
  constexpr uint32_t kEach = Size::kEach;
  const uint32_t row = b.thread() / kLanes * kEach, lane = b.thread() % kLanes;
  VIBEE_UNROLL
  for (uint32_t i = 0; i < kEach; ++i) {
    VIBEE_UNROLL
    for (uint32_t j = 0; j < kEach; ++j) dots[i][j] = 0;
  }
  VIBEE_ROLLED
  for (uint32_t k = 0; k < a.head_dim; k += kSideBySide) {
    Vector16<float> x[kEach], y[kEach];
    VIBEE_UNROLL
    for (uint32_t i = 0; i < kEach; ++i) {
      x[i] = b.load16(a.room, (row + i) * a.stride + k);
      y[i] = b.load16(c.room, (lane + kLanes * i) * c.stride + k);
    }
    VIBEE_UNROLL
    for (uint32_t e = 0; e < kSideBySide; ++e) {
      VIBEE_UNROLL
      for (uint32_t i = 0; i < kEach; ++i) {
        VIBEE_UNROLL
        for (uint32_t j = 0; j < kEach; ++j) dots[i][j] = b.fma(x[i].at[e], y[j].at[e], dots[i][j]);
      }
    }
  }
}

/// Goes on with the chains of rows kEach * group + i by columns 4 lane + 64 w + e: over ascending rows of c, which
/// weights[row][row of c] multiply.
template <class Block, class Size, class Room>
VIBEE_BLOCK void add_rows(Block& b, Room weights, const RowTile<Block, Size>& c, Chains<Size>& chains) {
  constexpr uint32_t kEach = Size::kEach, kStride = self_attention_stride(Size::kTile);
  const uint32_t row = b.thread() / kLanes * kEach, column = b.thread() % kLanes * kSideBySide;
  for (uint32_t k = 0; k < Size::kTile; k += kSideBySide) {
    Vector16<float> x[kEach];
    VIBEE_UNROLL
    for (uint32_t i = 0; i < kEach; ++i) x[i] = b.load16(weights, (row + i) * kStride + k);
    VIBEE_UNROLL
    for (uint32_t w = 0; w < Size::kWide; ++w) {
      if (column + w * 64 >= c.head_dim) continue;
      VIBEE_UNROLL
      for (uint32_t e = 0; e < kSideBySide; ++e) {
        const Vector16<float> y = b.load16(c.room, (k + e) * c.stride + column + w * 64);
        VIBEE_UNROLL
        for (uint32_t i = 0; i < kEach; ++i) {
          VIBEE_UNROLL
          for (uint32_t j = 0; j < kSideBySide; ++j) chains[i][w][j] = b.fma(x[i].at[e], y.at[j], chains[i][w][j]);
        }
      }
    }
  }
}

/// This thread's columns of row i of its chains go to p from `at` on.
template <class Block, class Size>
VIBEE_BLOCK void store_row(Block& b, void* p, uint64_t at, uint32_t d, const Chains<Size>& chains, uint32_t i) {
  const uint32_t column = b.thread() % kLanes * kSideBySide;
  VIBEE_UNROLL
  for (uint32_t w = 0; w < Size::kWide; ++w) {
    if (column + w * 64 >= d) continue;
    VIBEE_UNROLL
    for (uint32_t j = 0; j < kSideBySide; ++j)
      b.store(static_cast<float*>(p), at + column + w * 64 + j, chains[i][w][j]);
  }
}

struct SelfScore {
  float exponent, slope;  ///< score in log2, and how fast the score grows with the product
};
template <class Block>
VIBEE_BLOCK SelfScore self_score(Block& b, const SelfAttentionSizes& sizes, float dot) {
  constexpr float kLog2 = kLog2E;
  if (!(sizes.soft_cap > 0)) return {dot * (sizes.scale * kLog2), sizes.scale};
  const float t = block_tanh(b, dot * sizes.scale / sizes.soft_cap);
  return {sizes.soft_cap * kLog2 * t, sizes.scale * (1.0f - t * t)};
}

/// Over the sixteen threads of a group.
template <class Block, class Combine>
VIBEE_BLOCK float group_reduce(Block& b, float v, Combine combine) {
  for (uint32_t bits = kLanes / 2; bits > 0; bits /= 2) v = combine(v, b.shuffle_xor(v, bits));
  return v;
}

template <class Block, class Size>
VIBEE_BLOCK void self_attention_block(Block& b, const SelfAttentionArgs& args) {
  constexpr uint32_t kTile = Size::kTile, kEach = Size::kEach, kStride = self_attention_stride(kTile);
  const SelfDocument doc(b, args.tiles, args.sizes);
  const uint32_t d = doc.head_dim, first = doc.tile.first, lane = b.thread() % kLanes,
                 mine = b.thread() / kLanes * kEach;
  const uint32_t count = doc.vectors() - first < kTile ? doc.vectors() - first : kTile;
  const RowTile<Block, Size> queries(b, d), keys(b, d), values(b, d);
  const auto weights = dynamic_array<float>(b, kTile * kStride);
  queries.fetch(b, args.q, count, [&](uint32_t r) { return doc.vector(first + r); });
  float top[kEach], sum[kEach] = {};
  VIBEE_UNROLL
  for (uint32_t i = 0; i < kEach; ++i) top[i] = kNothingSeen;
  Chains<Size> o = {};
  const uint32_t low = first_key(first / doc.group, doc.window), last = (first + count - 1) / doc.group;
  for (uint32_t from = low / kTile * kTile; from <= last; from += kTile) {
    const uint32_t width = doc.rows - from < kTile ? doc.rows - from : kTile;
    b.sync();  // nobody reads the tiles before any more
    keys.fetch(b, args.k, width, [&](uint32_t r) { return doc.key(from + r); });
    values.fetch(b, args.v, width, [&](uint32_t r) { return doc.key(from + r); });
    b.sync();
    Dots<Size> s;
    multiply_rows(b, queries, keys, s);
    VIBEE_UNROLL
    for (uint32_t i = 0; i < kEach; ++i) {
      const KeyRange seen = doc.seen(first + mine + i);
      float most = kNothingSeen;
      VIBEE_UNROLL
      for (uint32_t j = 0; j < kEach; ++j) {
        s[i][j] = seen.has(from + lane + kLanes * j) ? self_score(b, args.sizes, s[i][j]).exponent : kNothingSeen;
        most = TakeGreater{}(most, s[i][j]);
      }
      most = TakeGreater{}(top[i], group_reduce(b, most, TakeGreater{}));
      const float base = most == kNothingSeen ? 0.0f : most, before = block_exp2(b, top[i] - base);
      top[i] = most;
      sum[i] = sum[i] * before;
      VIBEE_UNROLL
      for (uint32_t j = 0; j < kEach; ++j) {
        const float p = block_exp2(b, s[i][j] - base);
        sum[i] = sum[i] + p;
        b.store(weights, (mine + i) * kStride + lane + kLanes * j, p);
      }
      VIBEE_UNROLL
      for (uint32_t w = 0; w < Size::kWide; ++w) {
        VIBEE_UNROLL
        for (uint32_t j = 0; j < kSideBySide; ++j) o[i][w][j] = o[i][w][j] * before;
      }
    }
    b.sync();
    add_rows(b, weights, values, o);
  }
  VIBEE_UNROLL
  for (uint32_t i = 0; i < kEach; ++i) {
    const float all = group_reduce(b, sum[i], AddUp{});
    if (mine + i >= count) continue;
    VIBEE_UNROLL
    for (uint32_t w = 0; w < Size::kWide; ++w) {
      VIBEE_UNROLL
      for (uint32_t j = 0; j < kSideBySide; ++j) o[i][w][j] = o[i][w][j] / all;
    }
    const uint64_t at = doc.vector(first + mine + i);
    store_row<Block, Size>(b, args.out, at * d, d, o, i);
    if (lane == 0) b.store(args.sums, at, float(double(top[i]) + block_log2(double(all))));
  }
}

/// A chain a lane, then a tree: the CPU's order.
template <class Block, class T>
VIBEE_BLOCK void self_attention_means_block(Block& b, const SelfAttentionMeansArgs& args) {
  const uint32_t vector = (b.block_x() * b.threads() + b.thread()) / kLanes, lane = b.thread() % kLanes;
  const auto *out = static_cast<const T*>(args.out), *g = static_cast<const T*>(args.g);
  float dot = 0;
  if (vector < args.vectors)
    for (uint32_t i = lane; i < args.head_dim; i += kLanes) {
      const uint64_t at = uint64_t(vector) * args.head_dim + i;
      dot = b.fma(b.to_float(b.load(g, at)), b.to_float(b.load(out, at)), dot);
    }
  dot = group_reduce(b, dot, AddUp{});
  if (vector < args.vectors && lane == 0) b.store(args.means, vector, dot);
}

/// Of a tile of vectors by a tile of keys, P and dS: f(row, column, p, ds) of this thread's elements.
template <class Block, class Size, class F>
VIBEE_BLOCK void backward_scores(Block& b, const SelfAttentionDxArgs& args, const SelfDocument& doc, uint32_t vectors,
                                 uint32_t from, const RowTile<Block, Size>& queries, const RowTile<Block, Size>& slopes,
                                 const RowTile<Block, Size>& keys, const RowTile<Block, Size>& values, F&& f) {
  constexpr uint32_t kEach = Size::kEach;
  const uint32_t lane = b.thread() % kLanes, mine = b.thread() / kLanes * kEach;
  Dots<Size> s, toward;
  multiply_rows(b, queries, keys, s);
  multiply_rows(b, slopes, values, toward);
  VIBEE_UNROLL
  for (uint32_t i = 0; i < kEach; ++i) {
    const uint32_t v = vectors + mine + i;
    const KeyRange seen = doc.seen(v);
    const bool there = v < doc.vectors();
    const float sum = there ? b.load(args.sums, doc.vector(v)) : 0.0f;
    const float mean = there ? b.load(args.means, doc.vector(v)) : 0.0f;
    VIBEE_UNROLL
    for (uint32_t j = 0; j < kEach; ++j) {
      const SelfScore score = self_score(b, args.sizes, s[i][j]);
      const float p = block_exp2(b, score.exponent - sum);
      const bool visible = seen.has(from + lane + kLanes * j);
      f(mine + i, lane + kLanes * j, visible ? p : 0.0f, visible ? p * (toward[i][j] - mean) * score.slope : 0.0f);
    }
  }
}

template <class Block, class Size>
VIBEE_BLOCK void self_attention_dq_block(Block& b, const SelfAttentionDxArgs& args) {
  constexpr uint32_t kTile = Size::kTile, kEach = Size::kEach, kStride = self_attention_stride(kTile);
  const SelfDocument doc(b, args.tiles, args.sizes);
  const uint32_t d = doc.head_dim, first = doc.tile.first, mine = b.thread() / kLanes * kEach;
  const uint32_t count = doc.vectors() - first < kTile ? doc.vectors() - first : kTile;
  const RowTile<Block, Size> queries(b, d), slopes(b, d), keys(b, d), values(b, d);
  const auto weights = dynamic_array<float>(b, kTile * kStride);
  queries.fetch(b, args.q, count, [&](uint32_t r) { return doc.vector(first + r); });
  slopes.fetch(b, args.g, count, [&](uint32_t r) { return doc.vector(first + r); });
  Chains<Size> dq = {};
  const uint32_t low = first_key(first / doc.group, doc.window), last = (first + count - 1) / doc.group;
  for (uint32_t from = low / kTile * kTile; from <= last; from += kTile) {
    const uint32_t width = doc.rows - from < kTile ? doc.rows - from : kTile;
    b.sync();
    keys.fetch(b, args.k, width, [&](uint32_t r) { return doc.key(from + r); });
    values.fetch(b, args.v, width, [&](uint32_t r) { return doc.key(from + r); });
    b.sync();
    backward_scores(
        b, args, doc, first, from, queries, slopes, keys, values,
        [&](uint32_t row, uint32_t column, float, float ds) { b.store(weights, row * kStride + column, ds); });
    b.sync();
    add_rows(b, weights, keys, dq);
  }
  VIBEE_UNROLL
  for (uint32_t i = 0; i < kEach; ++i)
    if (mine + i < count) store_row<Block, Size>(b, args.dq, doc.vector(first + mine + i) * d, d, dq, i);
}

/// Weights lie transposed, a row a key.
template <class Block, class Size>
VIBEE_BLOCK void self_attention_dkv_block(Block& b, const SelfAttentionDxArgs& args) {
  constexpr uint32_t kTile = Size::kTile, kEach = Size::kEach, kStride = self_attention_stride(kTile);
  const SelfDocument doc(b, args.tiles, args.sizes);
  const uint32_t d = doc.head_dim, first = doc.tile.first, mine = b.thread() / kLanes * kEach;
  const uint32_t width = doc.rows - first < kTile ? doc.rows - first : kTile;
  const RowTile<Block, Size> queries(b, d), slopes(b, d), keys(b, d), values(b, d);
  const auto shares = dynamic_array<float>(b, kTile * kStride), weights = dynamic_array<float>(b, kTile * kStride);
  keys.fetch(b, args.k, width, [&](uint32_t r) { return doc.key(first + r); });
  values.fetch(b, args.v, width, [&](uint32_t r) { return doc.key(first + r); });
  Chains<Size> dk = {}, dv = {};
  const uint32_t beyond = rows_that_see(doc, first, width);
  for (uint32_t from = first * doc.group / kTile * kTile; from < beyond * doc.group; from += kTile) {
    const uint32_t count = doc.vectors() - from < kTile ? doc.vectors() - from : kTile;
    b.sync();
    queries.fetch(b, args.q, count, [&](uint32_t r) { return doc.vector(from + r); });
    slopes.fetch(b, args.g, count, [&](uint32_t r) { return doc.vector(from + r); });
    b.sync();
    backward_scores(b, args, doc, from, first, queries, slopes, keys, values,
                    [&](uint32_t row, uint32_t column, float p, float ds) {
                      b.store(shares, column * kStride + row, p);
                      b.store(weights, column * kStride + row, ds);
                    });
    b.sync();
    add_rows(b, shares, slopes, dv);
    add_rows(b, weights, queries, dk);
  }
  VIBEE_UNROLL
  for (uint32_t i = 0; i < kEach; ++i) {
    if (mine + i >= width) continue;
    store_row<Block, Size>(b, args.dk, doc.key(first + mine + i) * d, d, dk, i);
    store_row<Block, Size>(b, args.dv, doc.key(first + mine + i) * d, d, dv, i);
  }
}

}  // namespace vibee
