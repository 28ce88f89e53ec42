// SPDX-License-Identifier: Apache-2.0
// Attention of a training step and its gradients by mma.sync over 16-bit rows (self_attention_launch.h): a warp has 16
// rows of a tile of 64, its own; of the others, 64 at a time, come by cp.async. Own rows are query vectors, or keys
// where gradients towards keys and values are made, and both cases are two steps: products of own rows with others,
// which become weights in registers, and products of the weights with others. Where head dimensions do not fit the
// registers, blocks of z have a part of the output's each.
#pragma once

#include "vibee/core/device/block_log2.h"
#include "vibee/kernels/attention/attention_product_block.h"
#include "vibee/kernels/attention/self_attention_block.h"

namespace vibee {

/// 64 rows in shared memory, product_stride apart; there are zeros behind head_dim and behind the last row.
template <class Block, class T>
struct ProductRows {
  using Room = decltype(dynamic_array<T>(*static_cast<Block*>(nullptr), 1));
  Room room;
  uint32_t head_dim, depth, stride;

  VIBEE_BLOCK ProductRows(Block& b, uint32_t d, uint32_t stages)
      : room(dynamic_array<T>(b, stages * kSelfProductTile * product_stride(d))),
        head_dim(d),
        depth(product_depth(d)),
        stride(product_stride(d)) {}
  VIBEE_BLOCK uint32_t at(uint32_t stage, uint32_t row, uint32_t i) const {
    return (stage * kSelfProductTile + row) * stride + i;
  }
  /// Begins to copy: row r is that of p with the number place(r), for r below `count`.
  template <class Place>
  VIBEE_BLOCK void fetch(Block& b, const void* p, uint32_t stage, uint32_t count, Place&& place) const {
    constexpr uint32_t kEach = Vector16<T>::kCount;
    const uint32_t vectors = depth / kEach;
    for (uint32_t x = b.thread(); x < kSelfProductTile * vectors; x += b.threads()) {
      const uint32_t r = x / vectors, i = x % vectors * kEach;
      const bool in = r < count && i < head_dim;
      b.copy_async16(room, at(stage, r, i), static_cast<const T*>(p), in ? place(r) * head_dim + i : 0, in);
    }
  }
};

/// scores[n] = this warp's rows of `own` by rows 8 n .. 8 n + 7 of the others.
template <class Block, class T>
VIBEE_BLOCK void multiply_tiles(Block& b, const ProductRows<Block, T>& own, const ProductRows<Block, T>& others,
                                uint32_t stage, float (&scores)[8][4]) {
  const uint32_t lane = b.lane();
  VIBEE_UNROLL
  for (uint32_t n = 0; n < 8; ++n) {
    VIBEE_UNROLL
    for (uint32_t e = 0; e < 4; ++e) scores[n][e] = 0;
  }
  VIBEE_ROLLED
  for (uint32_t i = 0; i < own.depth; i += 16) {
    uint32_t mine[4];
    b.load_matrices(mine, own.room, own.at(0, b.warp() * 16 + lane % 16, i + lane / 16 * 8));
    VIBEE_UNROLL
    for (uint32_t n = 0; n < 8; n += 2) {
      uint32_t theirs[4];
      b.load_matrices(theirs, others.room, others.at(stage, n * 8 + lane / 16 * 8 + lane % 8, i + lane / 8 % 2 * 8));
      const uint32_t low[2] = {theirs[0], theirs[1]}, high[2] = {theirs[2], theirs[3]};
      b.mma(scores[n], mine, low, T{});
      b.mma(scores[n + 1], mine, high, T{});
    }
  }
}

/// sums[n] += weights of this warp's rows and the others by columns `column` + 8 n .. of the others.
template <class Block, class T, uint32_t kBlocks>
VIBEE_BLOCK void add_weighted(Block& b, const uint32_t (&weights)[8][2], const ProductRows<Block, T>& others,
                              uint32_t stage, uint32_t column, float (&sums)[kBlocks][4]) {
  const uint32_t lane = b.lane();
  VIBEE_UNROLL
  for (uint32_t k = 0; k < 4; ++k) {
    const uint32_t of[4] = {weights[k * 2][0], weights[k * 2][1], weights[k * 2 + 1][0], weights[k * 2 + 1][1]};
    VIBEE_UNROLL
    for (uint32_t n = 0; n < kBlocks; n += 2) {
      if (column + n * 8 >= others.depth) continue;
      uint32_t theirs[4];
      b.load_matrices_transposed(theirs, others.room,
                                 others.at(stage, k * 16 + lane % 16, column + n * 8 + lane / 16 * 8));
      const uint32_t low[2] = {theirs[0], theirs[1]}, high[2] = {theirs[2], theirs[3]};
      b.mma(sums[n], of, low, T{});
      b.mma(sums[n + 1], of, high, T{});
    }
  }
}

template <class T, class Block>
VIBEE_BLOCK uint32_t two_of(Block& b, float low, float high) {
  return b.from_float(low, T{}).bits | uint32_t(b.from_float(high, T{}).bits) << 16;
}

/// Columns of row r (0, or 1: eight behind it) of a lane's sums, times `by`, go to the row of p with the number `row`.
template <class T, class Block, uint32_t kBlocks>
VIBEE_BLOCK void store_sums(Block& b, void* p, uint64_t row, uint32_t d, uint32_t column, uint32_t r, float by,
                            const float (&sums)[kBlocks][4]) {
  VIBEE_UNROLL
  for (uint32_t n = 0; n < kBlocks; ++n) {
    const uint32_t i = column + n * 8 + b.lane() % 4 * 2;
    if (i >= d) continue;
    b.store(static_cast<T*>(p), row * d + i, b.from_float(sums[n][r * 2] * by, T{}));
    b.store(static_cast<T*>(p), row * d + i + 1, b.from_float(sums[n][r * 2 + 1] * by, T{}));
  }
}

/// Goes over the others from `from` to `end`, 64 at a time: fetch(from, stage) begins to copy, use(from, stage) reads.
template <class Block, class Fetch, class Use>
VIBEE_BLOCK void each_stage(Block& b, uint32_t stages, uint32_t from, uint32_t end, Fetch&& fetch, Use&& use) {
  uint32_t stage = 0;
  if (from < end) fetch(from, 0);
  b.commit_async();
  for (; from < end; from += kSelfProductTile) {
    const uint32_t next = from + kSelfProductTile;
    if (stages == 2) {
      if (next < end) fetch(next, stage ^ 1);
      b.commit_async();
      b.wait_async(Groups<1>{});
    } else {
      b.wait_async(Groups<0>{});
    }
    b.sync();
    use(from, stage);
    b.sync();
    if (stages == 2) {
      stage ^= 1;
    } else {
      if (next < end) fetch(next, 0);
      b.commit_async();
    }
  }
}

template <class Block, class T, class Dimensions>
VIBEE_BLOCK void self_attention_product_block(Block& b, const SelfAttentionArgs& args) {
  constexpr uint32_t kTile = kSelfProductTile, kBlocks = Dimensions::kMost / 8;
  const SelfDocument doc(b, args.tiles, args.sizes);
  const uint32_t d = doc.head_dim, first = doc.tile.first, stages = self_product_stages(d), lane = b.lane(),
                 column = b.block_z() * Dimensions::kMost, mine = b.warp() * 16 + lane / 4;
  const uint32_t count = doc.vectors() - first < kTile ? doc.vectors() - first : kTile;
  const ProductRows<Block, T> queries(b, d, 1), keys(b, d, stages), values(b, d, stages);
  queries.fetch(b, args.q, 0, count, [&](uint32_t r) { return doc.vector(first + r); });
  ProductState<Dimensions::kMost> state;
  const KeyRange seen[2] = {doc.seen(first + mine), doc.seen(first + mine + 8)};
  const uint32_t low = first_key(first / doc.group, doc.window), end = (first + count - 1) / doc.group + 1;
  each_stage(
      b, stages, low / kTile * kTile, end,
      [&](uint32_t from, uint32_t stage) {
        const uint32_t width = doc.rows - from < kTile ? doc.rows - from : kTile;
        const auto place = [&](uint32_t r) { return doc.key(from + r); };
        keys.fetch(b, args.k, stage, width, place);
        values.fetch(b, args.v, stage, width, place);
      },
      [&](uint32_t from, uint32_t stage) {
        float scores[8][4];
        multiply_tiles(b, queries, keys, stage, scores);
        uint32_t weights[8][2];
        VIBEE_UNROLL
        for (uint32_t r = 0; r < 2; ++r) {
          float top = state.top[r];
          VIBEE_UNROLL
          for (uint32_t i = 0; i < 16; ++i) {
            const uint32_t n = i / 2, e = r * 2 + i % 2, key = from + n * 8 + lane % 4 * 2 + i % 2;
            scores[n][e] = seen[r].has(key) ? self_score(b, args.sizes, scores[n][e]).exponent : kNothingSeen;
            top = TakeGreater{}(top, scores[n][e]);
          }
          top = TakeGreater{}(top, b.shuffle_xor(top, 1));
          top = TakeGreater{}(top, b.shuffle_xor(top, 2));
          const float base = top == kNothingSeen ? 0.0f : top, before = block_exp2(b, state.top[r] - base);
          state.top[r] = top;
          float sum = state.sum[r] * before;
          VIBEE_UNROLL
          for (uint32_t n = 0; n < 8; ++n) {
            const float p = block_exp2(b, scores[n][r * 2] - base), q = block_exp2(b, scores[n][r * 2 + 1] - base);
            weights[n][r] = two_of<T>(b, p, q);
            sum = sum + (p + q);
          }
          state.sum[r] = sum;
          VIBEE_UNROLL
          for (auto& v : state.values) v[r * 2] = v[r * 2] * before, v[r * 2 + 1] = v[r * 2 + 1] * before;
        }
        add_weighted<Block, T, kBlocks>(b, weights, values, stage, column, state.values);
      });
  VIBEE_UNROLL
  for (uint32_t r = 0; r < 2; ++r) {
    float sum = state.sum[r];
    sum = sum + b.shuffle_xor(sum, 1);
    sum = sum + b.shuffle_xor(sum, 2);
    if (mine + r * 8 >= count) continue;
    const uint64_t vector = doc.vector(first + mine + r * 8);
    store_sums<T>(b, args.out, vector, d, column, r, 1.0f / sum, state.values);
    if (lane % 4 == 0 && column == 0) b.store(args.sums, vector, float(double(state.top[r]) + block_log2(double(sum))));
  }
}

/// What weights take of a query vector: its row of the document, the log2 of its sum, its mean.
struct VectorFacts {
  uint32_t row;  ///< of no vector, one that sees nothing
  float sum, mean;
};
template <class Block>
VIBEE_BLOCK VectorFacts vector_facts(Block& b, const SelfAttentionDxArgs& args, const SelfDocument& doc, uint32_t v) {
  if (v >= doc.vectors()) return {~0u, 0, 0};
  const uint64_t at = doc.vector(v);
  return {v / doc.group, b.load(args.sums, at), b.load(args.means, at)};
}
/// P of a score, and dS of what P's gradient is: 0 where the vector does not see the key.
struct SelfWeight {
  float p, ds;
};
template <class Block>
VIBEE_BLOCK SelfWeight self_weight(Block& b, const SelfAttentionDxArgs& args, const VectorFacts& of, uint32_t key,
                                   float dot, float toward) {
  const uint32_t window = args.sizes.window;
  if (of.row == ~0u || key > of.row || (window != 0 && of.row - key >= window)) return {0, 0};
  const SelfScore score = self_score(b, args.sizes, dot);
  const float p = block_exp2(b, score.exponent - of.sum);
  return {p, p * (toward - of.mean) * score.slope};
}

template <class Block, class T, class Dimensions>
VIBEE_BLOCK void self_attention_product_dq_block(Block& b, const SelfAttentionDxArgs& args) {
  constexpr uint32_t kTile = kSelfProductTile, kBlocks = Dimensions::kMost / 8;
  const SelfDocument doc(b, args.tiles, args.sizes);
  const uint32_t d = doc.head_dim, first = doc.tile.first, stages = self_product_stages(d), lane = b.lane(),
                 column = b.block_z() * Dimensions::kMost, mine = b.warp() * 16 + lane / 4;
  const uint32_t count = doc.vectors() - first < kTile ? doc.vectors() - first : kTile;
  const ProductRows<Block, T> queries(b, d, 1), slopes(b, d, 1), keys(b, d, stages), values(b, d, stages);
  const auto vector = [&](uint32_t r) { return doc.vector(first + r); };
  queries.fetch(b, args.q, 0, count, vector);
  slopes.fetch(b, args.g, 0, count, vector);
  const VectorFacts facts[2] = {vector_facts(b, args, doc, first + mine), vector_facts(b, args, doc, first + mine + 8)};
  float sums[kBlocks][4] = {};
  const uint32_t low = first_key(first / doc.group, doc.window), end = (first + count - 1) / doc.group + 1;
  each_stage(
      b, stages, low / kTile * kTile, end,
      [&](uint32_t from, uint32_t stage) {
        const uint32_t width = doc.rows - from < kTile ? doc.rows - from : kTile;
        const auto place = [&](uint32_t r) { return doc.key(from + r); };
        keys.fetch(b, args.k, stage, width, place);
        values.fetch(b, args.v, stage, width, place);
      },
      [&](uint32_t from, uint32_t stage) {
        float dots[8][4], toward[8][4];
        multiply_tiles(b, queries, keys, stage, dots);
        multiply_tiles(b, slopes, values, stage, toward);
        uint32_t weights[8][2];
        VIBEE_UNROLL
        for (uint32_t n = 0; n < 8; ++n) {
          VIBEE_UNROLL
          for (uint32_t e = 0; e < 4; ++e)
            dots[n][e] =
                self_weight(b, args, facts[e / 2], from + n * 8 + lane % 4 * 2 + e % 2, dots[n][e], toward[n][e]).ds;
          weights[n][0] = two_of<T>(b, dots[n][0], dots[n][1]);
          weights[n][1] = two_of<T>(b, dots[n][2], dots[n][3]);
        }
        add_weighted<Block, T, kBlocks>(b, weights, keys, stage, column, sums);
      });
  VIBEE_UNROLL
  for (uint32_t r = 0; r < 2; ++r)
    if (mine + r * 8 < count) store_sums<T>(b, args.dq, vector(mine + r * 8), d, column, r, 1.0f, sums);
}

template <class Block, class T, class Dimensions>
VIBEE_BLOCK void self_attention_product_dkv_block(Block& b, const SelfAttentionDxArgs& args) {
  constexpr uint32_t kTile = kSelfProductTile, kBlocks = Dimensions::kMost / 8;
  const SelfDocument doc(b, args.tiles, args.sizes);
  const uint32_t d = doc.head_dim, first = doc.tile.first, stages = self_product_stages(d), lane = b.lane(),
                 column = b.block_z() * Dimensions::kMost, mine = b.warp() * 16 + lane / 4;
  const uint32_t width = doc.rows - first < kTile ? doc.rows - first : kTile;
  const ProductRows<Block, T> keys(b, d, 1), values(b, d, 1), queries(b, d, stages), slopes(b, d, stages);
  const auto rows = shared_array<uint32_t>(b, kTile);
  const auto logs = shared_array<float>(b, kTile), means = shared_array<float>(b, kTile);
  const auto key = [&](uint32_t r) { return doc.key(first + r); };
  keys.fetch(b, args.k, 0, width, key);
  values.fetch(b, args.v, 0, width, key);
  float dk[kBlocks][4] = {}, dv[kBlocks][4] = {};
  each_stage(
      b, stages, first * doc.group / kTile * kTile, rows_that_see(doc, first, width) * doc.group,
      [&](uint32_t from, uint32_t stage) {
        const uint32_t count = doc.vectors() - from < kTile ? doc.vectors() - from : kTile;
        const auto place = [&](uint32_t r) { return doc.vector(from + r); };
        queries.fetch(b, args.q, stage, count, place);
        slopes.fetch(b, args.g, stage, count, place);
      },
      [&](uint32_t from, uint32_t stage) {
        if (b.thread() < kTile) {
          const VectorFacts of = vector_facts(b, args, doc, from + b.thread());
          b.store(rows, b.thread(), of.row);
          b.store(logs, b.thread(), of.sum);
          b.store(means, b.thread(), of.mean);
        }
        float dots[8][4], toward[8][4];
        multiply_tiles(b, keys, queries, stage, dots);
        multiply_tiles(b, values, slopes, stage, toward);
        b.sync();
        uint32_t shares[8][2], weights[8][2];
        VIBEE_UNROLL
        for (uint32_t n = 0; n < 8; ++n) {
          VIBEE_UNROLL
          for (uint32_t e = 0; e < 4; ++e) {
            const uint32_t i = n * 8 + lane % 4 * 2 + e % 2;
            const SelfWeight w = self_weight(b, args, {b.load(rows, i), b.load(logs, i), b.load(means, i)},
                                             first + mine + e / 2 * 8, dots[n][e], toward[n][e]);
            dots[n][e] = w.p;
            toward[n][e] = w.ds;
          }
          VIBEE_UNROLL
          for (uint32_t r = 0; r < 2; ++r) {
            shares[n][r] = two_of<T>(b, dots[n][r * 2], dots[n][r * 2 + 1]);
            weights[n][r] = two_of<T>(b, toward[n][r * 2], toward[n][r * 2 + 1]);
          }
        }
        add_weighted<Block, T, kBlocks>(b, shares, slopes, stage, column, dv);
        add_weighted<Block, T, kBlocks>(b, weights, queries, stage, column, dk);
      });
  VIBEE_UNROLL
  for (uint32_t r = 0; r < 2; ++r) {
    if (mine + r * 8 >= width) continue;
    store_sums<T>(b, args.dk, key(mine + r * 8), d, column, r, 1.0f, dk);
    store_sums<T>(b, args.dv, key(mine + r * 8), d, column, r, 1.0f, dv);
  }
}

}  // namespace vibee
