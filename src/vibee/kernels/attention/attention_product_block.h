// SPDX-License-Identifier: Apache-2.0
// A split of attention over 16-bit pages by mma.sync (attention_launch.h): a warp 16 query vectors, keys and values in
// two stages of 64 absolute positions by cp.async. Inside a split the maximum runs from stage to stage
// (FlashAttention-2, Dao 2023, algorithm 1), left to right; stages of which a row sees nothing leave it as it was.
#pragma once

#include "vibee/kernels/attention/attention_block.h"

namespace vibee {

/// What registers are there for: the largest head dimension of a kernel.
template <uint32_t N>
struct UpTo {
  static constexpr uint32_t kMost = N;
};

/// Shared memory of an item, in halves. Rows of queries and values are product_stride apart. Pages of keys lie as in
/// memory, [dimension][16], but that the halves of a row change places where `flip` says so: eight rows of a matrix are
/// then in different banks.
template <class Block>
struct ProductStages {
  static constexpr uint32_t kEach = Vector16<Half>::kCount;
  using Room = decltype(dynamic_array<Half>(*static_cast<Block*>(nullptr), 1));
  Room queries, keys, values;
  uint32_t depth, stride;

  VIBEE_BLOCK ProductStages(Block& b, uint32_t d)
      : queries(dynamic_array<Half>(b, kProductTile * product_stride(d))),
        keys(dynamic_array<Half>(b, 2 * kStageKeys * product_depth(d))),
        values(dynamic_array<Half>(b, 2 * kStageKeys * product_stride(d))),
        depth(product_depth(d)),
        stride(product_stride(d)) {}
  /// Half a row of dimension i of a page of a stage.
  VIBEE_BLOCK uint32_t key(uint32_t stage, uint32_t page, uint32_t i, uint32_t half) const {
    const uint32_t flip = i / 4 % 2;
    return stage * kStageKeys * depth + ((page * depth + i) * 2 + (half ^ flip)) * kEach;
  }
  VIBEE_BLOCK uint32_t value(uint32_t stage, uint32_t key, uint32_t i) const {
    return (stage * kStageKeys + key) * stride + i;
  }

  /// Begins to copy the keys from `from` on; zeros stand for what is behind head_dim, and for values of keys that
  /// nobody sees.
  VIBEE_BLOCK void fetch(Block& b, const AttentionArgs& args, const AttentionTile& tile, uint32_t from,
                         uint32_t stage) const {
    const uint32_t d = args.head_dim;
    for (uint32_t x = b.thread(); x < kStageKeys / kPageTokens * depth * 2; x += b.threads()) {
      const uint32_t page = x / (depth * 2), i = x / 2 % depth, first = from + page * kPageTokens;
      const bool in = i < d && first < tile.end && first + kPageTokens > tile.begin;
      const Half* const source = page_keys<Half>(args, in ? tile.page(b, args, first) : 0, tile.kv_head);
      b.copy_async16(keys, key(stage, page, i, x % 2), source, in ? i * kPageTokens + x % 2 * kEach : 0, in);
    }
    const uint32_t pieces = depth / kEach;
    for (uint32_t x = b.thread(); x < kStageKeys * pieces; x += b.threads()) {
      const uint32_t at = from + x / pieces, i = x % pieces * kEach;
      const bool in = i < d && at >= tile.begin && at < tile.end;
      const Half* const source = page_values<Half>(args, in ? tile.page(b, args, at) : 0, tile.kv_head);
      b.copy_async16(values, value(stage, x / pieces, i), source, in ? at % kPageTokens * d + i : 0, in);
    }
  }
};

template <class Block>
VIBEE_BLOCK uint32_t two_halves(Block& b, float low, float high) {
  return b.from_float(low, Half{}).bits | uint32_t(b.from_float(high, Half{}).bits) << 16;
}
template <class Block>
VIBEE_BLOCK float sum_of_halves(Block& b, uint32_t two) {
  return b.to_float(Half{uint16_t(two)}) + b.to_float(Half{uint16_t(two >> 16)});
}

/// Of a warp's 16 vectors a lane has two, lane / 4 and eight behind it: [0] and [1] of top and sum; of the others of a
/// fragment, element e is of vector e / 2.
template <uint32_t kMost>
struct ProductState {
  float top[2] = {kNothingSeen, kNothingSeen}, sum[2] = {};
  float values[kMost / 8][4] = {};
};

/// Weights of the scores of a stage, 16 vectors by 64 keys; a lane's two vectors see `seen`.
template <class Block, class State>
VIBEE_BLOCK void weigh_stage(Block& b, const AttentionArgs& args, const KeyRange (&seen)[2], uint32_t from,
                             float (&scores)[8][4], uint32_t (&weights)[8][2], State& state) {
  VIBEE_UNROLL
  for (uint32_t r = 0; r < 2; ++r) {
    const KeyRange keys = seen[r];
    float top = state.top[r];
    VIBEE_UNROLL
    for (uint32_t i = 0; i < 16; ++i) {
      const uint32_t n = i / 2, e = r * 2 + i % 2, key = from + n * 8 + b.lane() % 4 * 2 + i % 2;
      scores[n][e] = keys.has(key) ? attention_score(b, args, scores[n][e]) : kNothingSeen;
      top = TakeGreater{}(top, scores[n][e]);
    }
    top = TakeGreater{}(top, b.shuffle_xor(top, 1));
    top = TakeGreater{}(top, b.shuffle_xor(top, 2));
    const float base = top == kNothingSeen ? 0.0f : top, before = block_exp2(b, state.top[r] - base);
    state.top[r] = top;
    float sum = state.sum[r] * before;
    VIBEE_UNROLL
    for (uint32_t n = 0; n < 8; ++n) {
      weights[n][r] = two_halves(b, block_exp2(b, scores[n][r * 2] - base), block_exp2(b, scores[n][r * 2 + 1] - base));
      sum = sum + sum_of_halves(b, weights[n][r]);  // of what values are multiplied by
    }
    state.sum[r] = sum;
    VIBEE_UNROLL
    for (auto& v : state.values) v[r * 2] = v[r * 2] * before, v[r * 2 + 1] = v[r * 2 + 1] * before;
  }
}

template <class Block, class In, class Dimensions>
VIBEE_BLOCK void attention_product_block(Block& b, const AttentionArgs& args) {
  const AttentionTile tile(b, args);
  const uint32_t d = args.head_dim, lane = b.lane(), first_vector = b.warp() * 16;
  const ProductStages<Block> room(b, d);
  const uint32_t depth = room.depth;
  uint32_t from = tile.begin / kStageKeys * kStageKeys, stage = 0;
  room.fetch(b, args, tile, from, 0);
  b.commit_async();
  const auto* q = static_cast<const In*>(args.q);
  for (uint32_t x = b.thread(); x < kProductTile * depth; x += b.threads()) {
    const uint32_t vector = x / depth, i = x % depth;
    const float of = vector < tile.vectors && i < d ? b.to_float(b.load(q, tile.query(args, vector) + i)) : 0.0f;
    b.store(room.queries, vector * room.stride + i, b.from_float(of, Half{}));
  }
  KeyRange seen[2];
  VIBEE_UNROLL
  for (uint32_t r = 0; r < 2; ++r) {
    const uint32_t vector = first_vector + lane / 4 + r * 8;
    seen[r] = tile.seen(tile.last(vector));
    if (vector >= tile.vectors) seen[r].end = 0;
  }
  ProductState<Dimensions::kMost> state;
  for (; from < tile.end; from += kStageKeys, stage ^= 1) {
    if (from + kStageKeys < tile.end) room.fetch(b, args, tile, from + kStageKeys, stage ^ 1);
    b.commit_async();
    b.wait_async(Groups<1>{});
    b.sync();
    if (first_vector < tile.vectors) {
      float scores[8][4] = {};
      for (uint32_t i = 0; i < depth; i += 16) {
        uint32_t queries[4];
        b.load_matrices(queries, room.queries, (first_vector + lane % 16) * room.stride + i + lane / 16 * 8);
        VIBEE_UNROLL
        for (uint32_t page = 0; page < 4; ++page) {
          uint32_t k[4];
          b.load_matrices_transposed(k, room.keys, room.key(stage, page, i + lane % 16, lane / 16));
          const uint32_t low[2] = {k[0], k[1]}, high[2] = {k[2], k[3]};
          b.mma(scores[page * 2], queries, low, Half{});
          b.mma(scores[page * 2 + 1], queries, high, Half{});
        }
      }
      uint32_t weights[8][2];
      weigh_stage(b, args, seen, from, scores, weights, state);
      VIBEE_UNROLL
      for (uint32_t page = 0; page < 4; ++page) {
        const uint32_t of[4] = {weights[page * 2][0], weights[page * 2][1], weights[page * 2 + 1][0],
                                weights[page * 2 + 1][1]};
        VIBEE_UNROLL
        for (uint32_t n = 0; n < Dimensions::kMost / 8; n += 2)
          if (n * 8 < depth) {
            uint32_t v[4];
            b.load_matrices_transposed(v, room.values, room.value(stage, page * 16 + lane % 16, n * 8 + lane / 16 * 8));
            const uint32_t low[2] = {v[0], v[1]}, high[2] = {v[2], v[3]};
            b.mma(state.values[n], of, low, Half{});
            b.mma(state.values[n + 1], of, high, Half{});
          }
      }
    }
    b.sync();
  }
  if (first_vector >= tile.vectors) return;
  VIBEE_UNROLL
  for (uint32_t r = 0; r < 2; ++r) {
    const uint32_t vector = first_vector + lane / 4 + r * 8;
    float sum = state.sum[r];
    sum = sum + b.shuffle_xor(sum, 1);
    sum = sum + b.shuffle_xor(sum, 2);
    if (vector >= tile.vectors || !tile.has_part(tile.last(vector))) continue;
    const uint64_t part = tile.part(b, args, vector);
    if (lane % 4 == 0) {
      b.store(args.part_sums, part * 2, state.top[r]);
      b.store(args.part_sums, part * 2 + 1, sum);
    }
    VIBEE_UNROLL
    for (uint32_t n = 0; n < Dimensions::kMost / 8; ++n) {
      if (n * 8 >= d) continue;
      b.store(args.part_values, part * d + n * 8 + lane % 4 * 2, state.values[n][r * 2]);
      b.store(args.part_values, part * d + n * 8 + lane % 4 * 2 + 1, state.values[n][r * 2 + 1]);
    }
  }
}

}  // namespace vibee
