// SPDX-License-Identifier: Apache-2.0
// Attention over paged keys and values as block programs (attention_launch.h): what all of them share, the splits by
// fma, the fold and the writing of pages. The operations on a row are those of fold.h, one by one.
#pragma once

#include <type_traits>

#include "vibee/core/device/block_exp2.h"
#include "vibee/core/device/block_reduce.h"
#include "vibee/kernels/attention/attention_launch.h"

namespace vibee {

constexpr float kNothingSeen = -__builtin_huge_valf();

struct TakeGreater {
  VIBEE_BLOCK float operator()(float a, float b) const { return a > b ? a : b; }
};

VIBEE_BLOCK uint32_t first_key(uint32_t last, uint32_t window) {
  return window != 0 && last + 1 > window ? last + 1 - window : 0;
}

/// A score in log2 from the product of a query and a key.
template <class Block>
VIBEE_BLOCK float attention_score(Block& b, const AttentionArgs& args, float dot) {
  constexpr float kLog2 = kLog2E;
  if (args.soft_cap > 0) return args.soft_cap * kLog2 * block_tanh(b, dot * args.scale / args.soft_cap);
  return dot * (args.scale * kLog2);
}

struct KeyRange {
  uint32_t begin, end;
  VIBEE_BLOCK bool has(uint32_t key) const { return key >= begin && key < end; }
};

/// The block's item, a word at a time.
template <class Block>
VIBEE_BLOCK SplitItem load_item(Block& b, const AttentionArgs& args) {
  const auto* words = reinterpret_cast<const uint32_t*>(args.items);
  const uint64_t at = uint64_t(b.block_x()) * (sizeof(SplitItem) / sizeof(uint32_t));
  return {b.load(words, at),     b.load(words, at + 1), b.load(words, at + 2), b.load(words, at + 3),
          b.load(words, at + 4), b.load(words, at + 5), b.load(words, at + 6)};
}

/// Where an item's keys are, and what of them each of its query vectors (row * heads + head) sees.
struct AttentionTile {
  SplitItem item;
  uint32_t vectors, kv_head, window, causal;
  uint32_t begin, end;  // keys of the split that any vector sees

  /// That of the block.
  template <class Block>
  VIBEE_BLOCK AttentionTile(Block& b, const AttentionArgs& args)
      : item(load_item(b, args)),
        vectors(item.rows * item.heads),
        kv_head(item.head / (args.heads / args.kv_heads)),
        window(args.window),
        causal(args.causal) {
    const uint32_t low = first_key(item.last, window), from = item.split * kSplitKeys, to = from + kSplitKeys;
    const uint32_t behind = item.last + (item.rows - 1) * causal + 1;
    begin = from > low ? from : low;
    end = behind < to ? behind : to;
  }
  VIBEE_BLOCK uint32_t last(uint32_t vector) const { return item.last + vector / item.heads * causal; }
  /// Keys [begin, end) of the split that a vector with that last key sees.
  VIBEE_BLOCK KeyRange seen(uint32_t last_key) const {
    const uint32_t low = first_key(last_key, window);
    return {begin > low ? begin : low, end < last_key + 1 ? end : last_key + 1};
  }
  /// Whether a vector with that last key has a part of this split.
  VIBEE_BLOCK bool has_part(uint32_t last_key) const {
    return item.split <= last_key / kSplitKeys && item.split >= first_key(last_key, window) / kSplitKeys;
  }
  template <class Block>
  VIBEE_BLOCK uint64_t part(Block& b, const AttentionArgs& args, uint32_t vector) const {
    const uint32_t before = item.split - first_key(last(vector), window) / kSplitKeys;
    const uint32_t at = b.load(args.row_parts, item.row + vector / item.heads) + before;
    return uint64_t(at) * args.heads + item.head + vector % item.heads;
  }
  VIBEE_BLOCK uint64_t query(const AttentionArgs& args, uint32_t vector) const {
    return (uint64_t(item.row + vector / item.heads) * args.heads + item.head + vector % item.heads) * args.head_dim;
  }
  /// Page of a key's position; keys of a page are at [head_dim][16], its values at [16][head_dim] behind all keys.
  template <class Block>
  VIBEE_BLOCK uint32_t page(Block& b, const AttentionArgs& args, uint32_t key) const {
    return b.load(args.pages, uint64_t(item.pages) + key / kPageTokens);
  }
};
/// Elements of pages of q8_0 (batch.h): bytes, with a half scale of 32 dimensions before them.
struct ScaledByte {};
constexpr uint32_t kScaledDims = 32;

/// Bytes of one head's keys in a page, or of its values.
template <class Kv>
VIBEE_BLOCK uint64_t head_bytes(uint32_t head_dim) {
  if constexpr (std::is_same_v<Kv, ScaledByte>)
    return uint64_t(head_dim) * (kPageTokens + kPageTokens * 2 / kScaledDims);
  return uint64_t(head_dim) * kPageTokens * sizeof(Kv);
}
/// One of a head's sixteen keys, by dimensions, and one dimension of its values, by lanes.
template <class Kv>
struct KeyColumn {
  const Kv* p;
  VIBEE_BLOCK KeyColumn(const Kv* head, uint32_t, uint32_t lane) : p(head + lane) {}
  template <class Block>
  VIBEE_BLOCK float at(Block& b, uint32_t i) const {
    return b.to_float(b.load(p, i * kPageTokens));
  }
};
template <class Kv>
struct ValueColumn {
  const Kv* p;
  VIBEE_BLOCK ValueColumn(const Kv* head, uint32_t, uint32_t dim) : p(head + dim) {}
  template <class Block>
  VIBEE_BLOCK float at(Block& b, uint32_t lane, uint32_t head_dim) const {
    return b.to_float(b.load(p, lane * head_dim));
  }
};
/// Codes lie behind their scales, which have as many bytes as a head has dimensions.
static_assert(kPageTokens * sizeof(uint16_t) == kScaledDims);
template <>
struct KeyColumn<ScaledByte> {
  const Half* scales;
  const int8_t* codes;
  VIBEE_BLOCK KeyColumn(const ScaledByte* head, uint32_t head_dim, uint32_t lane)
      : scales(reinterpret_cast<const Half*>(head) + lane),
        codes(reinterpret_cast<const int8_t*>(head) + head_dim + lane) {}
  template <class Block>
  VIBEE_BLOCK float at(Block& b, uint32_t i) const {
    return float(b.load(codes, i * kPageTokens)) * b.to_float(b.load(scales, i / kScaledDims * kPageTokens));
  }
};
template <>
struct ValueColumn<ScaledByte> {
  const Half* scales;
  const int8_t* codes;
  VIBEE_BLOCK ValueColumn(const ScaledByte* head, uint32_t head_dim, uint32_t dim)
      : scales(reinterpret_cast<const Half*>(head) + dim / kScaledDims),
        codes(reinterpret_cast<const int8_t*>(head) + head_dim + dim) {}
  template <class Block>
  VIBEE_BLOCK float at(Block& b, uint32_t lane, uint32_t head_dim) const {
    return float(b.load(codes, lane * head_dim)) * b.to_float(b.load(scales, lane * (head_dim / kScaledDims)));
  }
};

template <class Kv>
VIBEE_BLOCK const Kv* page_keys(const AttentionArgs& args, uint32_t page, uint32_t kv_head) {
  return reinterpret_cast<const Kv*>(args.kv + page * args.page_bytes + kv_head * head_bytes<Kv>(args.head_dim));
}
template <class Kv>
VIBEE_BLOCK const Kv* page_values(const AttentionArgs& args, uint32_t page, uint32_t kv_head) {
  return page_keys<Kv>(args, page, args.kv_heads + kv_head);
}

/// Turns the scores of one vector into weights, by one warp: their maximum, and their sum as fold.h adds it up.
template <class Block, class Scores>
VIBEE_BLOCK void weigh_scores(Block& b, Scores scores, uint32_t at, float* top, float* sum) {
  constexpr uint32_t kHalf = kSplitKeys / 2;
  const uint32_t lane = b.lane() % kPageTokens, mine = at + b.lane() / kPageTokens * kHalf + lane;
  float best = kNothingSeen;
  for (uint32_t i = 0; i < kHalf; i += kPageTokens) best = TakeGreater{}(best, b.load(scores, mine + i));
  best = warp_reduce(b, best, TakeGreater{});
  for (uint32_t i = 0; i < kHalf; i += kPageTokens)
    b.store(scores, mine + i, best == kNothingSeen ? 0.0f : block_exp2(b, b.load(scores, mine + i) - best));
  b.sync_warp();
  float lanes = 0;
  for (uint32_t i = 0; i < kSplitKeys; i += kPageTokens) lanes = lanes + b.load(scores, at + lane + i);
  for (uint32_t bits = kPageTokens / 2; bits > 0; bits /= 2) lanes = lanes + b.shuffle_xor(lanes, bits);
  *top = best;
  *sum = lanes;
}

/// A thread a key for the scores, a warp a vector for the weights, a thread a dimension for the values.
template <class Block, class In, class Kv>
VIBEE_BLOCK void attention_split_block(Block& b, const AttentionArgs& args) {
  const AttentionTile tile(b, args);
  const auto* q = static_cast<const In*>(args.q);
  const uint32_t d = args.head_dim, t = b.thread(), origin = tile.item.split * kSplitKeys;
  const auto queries = shared_array<float>(b, kVectorTile * 256), scores = shared_array<float>(b, kVectorTile * 256);
  for (uint32_t i = t; i < tile.vectors * d; i += b.threads())
    b.store(queries, i, b.to_float(b.load(q, tile.query(args, i / d) + i % d)));
  b.sync();

  const uint32_t key = origin + t;
  float dots[kVectorTile] = {};
  if (key >= tile.begin && key < tile.end) {
    const KeyColumn<Kv> keys(page_keys<Kv>(args, tile.page(b, args, key), tile.kv_head), d, key % kPageTokens);
    for (uint32_t i = 0; i < d; i += 4) {
      float k[4];
      for (uint32_t j = 0; j < 4; ++j) k[j] = keys.at(b, i + j);
      for (uint32_t m = 0; m < kVectorTile; ++m)
        if (m < tile.vectors) {
          const Vector16<float> of = b.load16(queries, m * d + i);
          for (uint32_t j = 0; j < 4; ++j) dots[m] = b.fma(of.at[j], k[j], dots[m]);
        }
    }
  }
  for (uint32_t m = 0; m < kVectorTile; ++m)
    if (m < tile.vectors)
      b.store(scores, m * kSplitKeys + t,
              tile.seen(tile.last(m)).has(key) ? attention_score(b, args, dots[m]) : kNothingSeen);
  b.sync();

  if (b.warp() < tile.vectors) {
    float top, sum;
    weigh_scores(b, scores, b.warp() * kSplitKeys, &top, &sum);
    if (b.lane() == 0 && tile.has_part(tile.last(b.warp()))) {
      const uint64_t part = tile.part(b, args, b.warp());
      b.store(args.part_sums, part * 2, top);
      b.store(args.part_sums, part * 2 + 1, sum);
    }
  }
  b.sync();

  const uint32_t groups = b.threads() / d < kVectorTile ? b.threads() / d : kVectorTile, group = t / d, column = t % d;
  if (group >= groups) return;
  float sums[kVectorTile] = {};  // of vectors group, group + groups, ...
  for (uint32_t page = tile.begin / kPageTokens; page * kPageTokens < tile.end; ++page) {
    const ValueColumn<Kv> values(page_values<Kv>(args, tile.page(b, args, page * kPageTokens), tile.kv_head), d,
                                 column);
    for (uint32_t lane = 0; lane < kPageTokens; lane += 4) {
      const uint32_t at = page * kPageTokens + lane;
      float v[4];
      for (uint32_t j = 0; j < 4; ++j)  // what lies behind the sequence may be no number
        v[j] = at + j >= tile.begin && at + j < tile.end ? values.at(b, lane + j, d) : 0.0f;
      for (uint32_t m = 0; m < kVectorTile; ++m)
        if (group + m * groups < tile.vectors) {
          const Vector16<float> of = b.load16(scores, (group + m * groups) * kSplitKeys + at - origin);
          for (uint32_t j = 0; j < 4; ++j) sums[m] = b.fma(of.at[j], v[j], sums[m]);
        }
    }
  }
  for (uint32_t m = 0; m < kVectorTile; ++m) {
    const uint32_t vector = group + m * groups;
    if (vector < tile.vectors && tile.has_part(tile.last(vector)))
      b.store(args.part_values, tile.part(b, args, vector) * d + column, sums[m]);
  }
}

template <class Block, class Out>
VIBEE_BLOCK void attention_fold_block(Block& b, const AttentionFoldArgs& args) {
  constexpr uint32_t kEach = 256 / kWarp;  // dimensions a lane
  const uint32_t vector = b.block_x() * b.warps() + b.warp(), d = args.head_dim;
  if (vector >= args.rows * args.heads) return;
  const uint32_t row = vector / args.heads, head = vector % args.heads;
  const uint32_t begin = b.load(args.row_parts, row), end = b.load(args.row_parts, row + 1);
  float m = kNothingSeen, l = 0, o[kEach] = {};
  for (uint32_t i = begin; i < end; ++i) {
    const uint64_t part = uint64_t(i) * args.heads + head;
    const float top = b.load(args.part_sums, part * 2), sum = b.load(args.part_sums, part * 2 + 1);
    if (top == kNothingSeen) continue;
    const float both = top > m ? top : m;
    const float before = m == kNothingSeen ? 0.0f : block_exp2(b, m - both), by = block_exp2(b, top - both);
    l = b.fma(sum, by, l * before);
    for (uint32_t j = 0; j < kEach; ++j)
      if (j * kWarp + b.lane() < d)
        o[j] = b.fma(b.load(args.part_values, part * d + j * kWarp + b.lane()), by, o[j] * before);
    m = both;
  }
  auto* const out = static_cast<Out*>(args.out);
  for (uint32_t j = 0; j < kEach; ++j)
    if (j * kWarp + b.lane() < d)
      b.store(out, uint64_t(vector) * d + j * kWarp + b.lane(), b.from_float(l > 0 ? o[j] / l : 0.0f, Out{}));
}

template <class Block, class In, class Kv>
VIBEE_BLOCK void kv_append_block(Block& b, const KvAppendArgs& args) {
  const uint32_t d = args.head_dim, width = args.kv_heads * d, place = b.load(args.places, b.block_x());
  const auto *keys = static_cast<const In*>(args.keys), *values = static_cast<const In*>(args.values);
  auto* const page = reinterpret_cast<Kv*>(args.kv + place / kPageTokens * args.page_bytes);
  const uint64_t row = uint64_t(b.block_x()) * width, lane = place % kPageTokens;
  for (uint32_t i = b.thread(); i < width; i += b.threads()) {
    const uint64_t head = i / d, dim = i % d;
    b.store(page, (head * d + dim) * kPageTokens + lane, b.from_float(b.to_float(b.load(keys, row + i)), Kv{}));
    b.store(page, ((args.kv_heads + head) * kPageTokens + lane) * d + dim,
            b.from_float(b.to_float(b.load(values, row + i)), Kv{}));
  }
}

/// The lane's element of 32 as a byte by their scale, which lane 0 stores. Of numbers; a byte of anything else is any.
template <class Block>
VIBEE_BLOCK int8_t scaled_byte(Block& b, float v, Half* scales, uint64_t at) {
  const float most = warp_reduce(b, v < 0 ? -v : v + 0.0f, TakeGreater{});
  const Half half = b.from_float(most / 127.0f, Half{});
  const float scale = b.to_float(half), inverse = scale > 0 ? 1.0f / scale : 0.0f, x = v * inverse;
  if (b.lane() == 0) b.store(scales, at, half);
  const float in = x > 127.0f ? 127.0f : x > -127.0f ? x : -127.0f, whole = 0x1.8p23f;
  return int8_t(int32_t((in + whole) - whole));  // to the nearest, ties to even
}

/// Of pages of q8_0: a warp 32 dimensions of a head.
template <class Block, class In>
VIBEE_BLOCK void kv_append_scaled_block(Block& b, const KvAppendArgs& args) {
  const uint32_t d = args.head_dim, width = args.kv_heads * d, place = b.load(args.places, b.block_x());
  const auto *keys = static_cast<const In*>(args.keys), *values = static_cast<const In*>(args.values);
  auto* const page = args.kv + place / kPageTokens * args.page_bytes;
  const uint64_t row = uint64_t(b.block_x()) * width, lane = place % kPageTokens, parts = d / kScaledDims;
  for (uint32_t i = b.thread(); i < width; i += b.threads()) {
    const uint32_t head = i / d, dim = i % d, part = dim / kScaledDims;
    auto* const key = page + head * head_bytes<ScaledByte>(d);
    auto* const value = page + (args.kv_heads + head) * head_bytes<ScaledByte>(d);
    const int8_t of_key =
        scaled_byte(b, b.to_float(b.load(keys, row + i)), reinterpret_cast<Half*>(key), part * kPageTokens + lane);
    const int8_t of_value =
        scaled_byte(b, b.to_float(b.load(values, row + i)), reinterpret_cast<Half*>(value), lane * parts + part);
    b.store(reinterpret_cast<int8_t*>(key) + d, dim * kPageTokens + lane, of_key);
    b.store(reinterpret_cast<int8_t*>(value) + d, lane * d + dim, of_value);
  }
}

}  // namespace vibee
