// SPDX-License-Identifier: Apache-2.0
// Block programs of mixtures of experts around their products: the choice of experts, the work list, the weighted sum.
#pragma once

#include "vibee/core/device/block_exp2.h"
#include "vibee/core/device/block_reduce.h"
#include "vibee/kernels/pointwise/route_launch.h"

namespace vibee {

/// e^x of the CPU's bytes (exp_fixed).
template <class Block>
VIBEE_BLOCK float route_exp(Block& b, float x) {
  constexpr float kLog2 = kLog2E;
  return block_exp2(b, x * kLog2);
}

template <class Block, class Room>
VIBEE_BLOCK float route_most(Block& b, Room room, uint32_t begin, uint32_t n) {
  float most = -__builtin_huge_valf();
  for (uint32_t i = b.lane(); i < n; i += kWarp) {
    const float v = b.load(room, begin + i);
    most = v > most ? v : most;
  }
  return warp_reduce(b, most, TakeLarger{});
}

/// A row a warp.
template <class Block>
VIBEE_BLOCK void route_rows_block(Block& b, const RouteArgs& args) {
  const uint32_t n = args.experts, begin = b.warp() * n, row = b.block_x() * b.warps() + b.warp();
  const auto room = dynamic_array<float>(b, b.warps() * n);
  if (row >= args.rows) return;
  const uint64_t route = uint64_t(row) * 2 * args.chosen;
  for (uint32_t i = b.lane(); i < n; i += kWarp) b.store(room, begin + i, b.load(args.logits, uint64_t(row) * n + i));
  b.sync_warp();
  const float top = route_most(b, room, begin, n);
  // Sixteen lanes and their tree, as a vector of the CPU has it.
  constexpr uint32_t kLanes = 16;
  float all = 0;
  for (uint32_t i = b.lane() % kLanes; i < n; i += kLanes) all = all + route_exp(b, b.load(room, begin + i) - top);
  for (uint32_t bits = kLanes / 2; bits > 0; bits /= 2) all = all + b.shuffle_xor(all, bits);
  float sum = 0;
  for (uint32_t j = 0; j < args.chosen; ++j) {
    const float most = route_most(b, room, begin, n);
    uint32_t best = n;
    for (uint32_t i = b.lane(); i < n && best == n; i += kWarp)
      if (b.load(room, begin + i) == most) best = i;
    for (uint32_t bits = kWarp / 2; bits > 0; bits /= 2) {
      const uint32_t other = b.shuffle_xor(best, bits);
      best = other < best ? other : best;
    }
    if (best == n) best = 0;  // all are NaN
    const float weight = route_exp(b, b.load(room, begin + best) - top);
    sum = sum + weight;
    b.sync_warp();
    if (b.lane() == 0) {
      b.store(room, begin + best, -__builtin_huge_valf());
      b.store(args.route, route + j, float(best));
      b.store(args.route, route + args.chosen + j, weight);
    }
    b.sync_warp();
  }
  const float of = args.normalise ? sum : all;
  for (uint32_t j = 0; j < args.chosen && b.lane() == 0; ++j) {
    const uint64_t at = route + args.chosen + j;
    b.store(args.route, at, b.load(args.route, at) / of);
  }
}

VIBEE_BLOCK uint32_t bits_set(uint32_t v) {
  v = v - (v >> 1 & 0x55555555u);
  v = (v & 0x33333333u) + (v >> 2 & 0x33333333u);
  return ((v + (v >> 4)) & 0x0f0f0f0fu) * 0x01010101u >> 24;
}

/// How many threads of the block before this one say so, and how many of all; `words` has a word a warp and may be used
/// again at once.
struct ThreadCount {
  uint32_t before, all;
};
template <class Block, class Words>
VIBEE_BLOCK ThreadCount count_threads(Block& b, Words words, bool here) {
  const uint32_t lanes = b.ballot(here);
  if (b.lane() == 0) b.store(words, b.warp(), lanes);
  b.sync();
  ThreadCount count{bits_set(lanes & ((1u << b.lane()) - 1)), 0};
  for (uint32_t w = 0; w < b.warps(); ++w) {
    const uint32_t n = bits_set(b.load(words, w));
    if (w < b.warp()) count.before += n;
    count.all += n;
  }
  b.sync();
  return count;
}

/// An expert a block: it counts the pairs of experts before its own, behind which it writes its own in ascending order.
template <class Block>
VIBEE_BLOCK void route_pairs_block(Block& b, const RouteListArgs& args) {
  const auto words = shared_array<uint32_t>(b, kMostRouteThreads / kWarp);
  const uint32_t expert = b.block_x(), pairs = args.rows * args.chosen;
  // Of a pair that does not exist: an expert behind all.
  const auto expert_of = [&](uint32_t pair) {
    if (pair >= pairs) return args.experts;
    return uint32_t(b.load(args.route, uint64_t(pair / args.chosen) * 2 * args.chosen + pair % args.chosen));
  };
  uint32_t start = 0;
  for (uint32_t first = 0; first < pairs; first += b.threads())
    start += count_threads(b, words, expert_of(first + b.thread()) < expert).all;
  if (b.thread() == 0) b.store(args.starts, expert, start);
  for (uint32_t first = 0; first < pairs; first += b.threads()) {
    const uint32_t pair = first + b.thread();
    const bool mine = expert_of(pair) == expert;
    const ThreadCount count = count_threads(b, words, mine);
    if (mine) b.store(args.pairs, start + count.before, pair);
    start += count.all;
  }
  if (b.thread() == 0 && expert + 1 == args.experts) b.store(args.starts, args.experts, start);
}

template <class Block>
VIBEE_BLOCK void store_tile(Block& b, const RouteListArgs& args, uint32_t i, const RouteTile& tile) {
  b.store(args.tiles, uint64_t(i) * 3, tile.expert);
  b.store(args.tiles, uint64_t(i) * 3 + 1, tile.begin);
  b.store(args.tiles, uint64_t(i) * 3 + 2, tile.count);
}
template <class Block>
VIBEE_BLOCK RouteTile load_tile(Block& b, const uint32_t* tiles, uint32_t i) {
  return {b.load(tiles, uint64_t(i) * 3), b.load(tiles, uint64_t(i) * 3 + 1), b.load(tiles, uint64_t(i) * 3 + 2)};
}

/// One warp; a lane an expert.
template <class Block>
VIBEE_BLOCK void route_tiles_block(Block& b, const RouteListArgs& args) {
  uint32_t made = 0;
  for (uint32_t first = 0; first < args.experts; first += kWarp) {
    const uint32_t expert = first + b.lane();
    const bool has = expert < args.experts;
    const uint32_t begin = has ? b.load(args.starts, expert) : 0, end = has ? b.load(args.starts, expert + 1) : 0;
    const uint32_t mine = (end - begin + args.tile_rows - 1) / args.tile_rows;
    uint32_t up_to = mine;  // of the lanes before and this one
    for (uint32_t by = 1; by < kWarp; by *= 2) {
      const uint32_t before = b.shuffle(up_to, b.lane() - by);
      if (b.lane() >= by) up_to += before;
    }
    for (uint32_t i = 0; i < mine; ++i) {
      const uint32_t at = begin + i * args.tile_rows, left = end - at;
      store_tile(b, args, made + up_to - mine + i, {expert, at, left < args.tile_rows ? left : args.tile_rows});
    }
    made += b.shuffle(up_to, kWarp - 1);
  }
  for (uint32_t i = made + b.lane(); i < args.most_tiles; i += kWarp) store_tile(b, args, i, {0, 0, 0});
}

/// A block a row and columns of it.
template <class Block, class T>
VIBEE_BLOCK void combine_experts_block(Block& b, const CombineExpertsArgs& args) {
  const auto* y = static_cast<const T*>(args.y);
  const uint32_t row = b.block_x(), k = args.chosen, column = b.block_y() * b.threads() + b.thread();
  const uint64_t route = uint64_t(row) * 2 * k;
  const auto slots = dynamic_array<uint32_t>(b, k);  // by ascending expert
  for (uint32_t j = b.thread(); j < k; j += b.threads()) {
    const float id = b.load(args.route, route + j);
    uint32_t before = 0;
    for (uint32_t i = 0; i < k; ++i) {
      const float other = b.load(args.route, route + i);
      before += other < id || (other == id && i < j);
    }
    b.store(slots, before, j);
  }
  b.sync();
  if (column >= args.n) return;
  float sum = 0;
  for (uint32_t i = 0; i < k; ++i) {
    const uint32_t slot = b.load(slots, i);
    const float v = b.to_float(b.load(y, (uint64_t(row) * k + slot) * args.n + column));
    sum = sum + b.load(args.route, route + k + slot) * v;
  }
  b.store(args.out, uint64_t(row) * args.n + column, sum);
}

}  // namespace vibee
