// SPDX-License-Identifier: Apache-2.0
// What the kernels of route_block.inc take and how they are launched: mixtures of experts around their products. A
// route is a row's k experts as floats, likeliest first, then their weights (moe_route). Pair number p = row * k + slot
// is one choice of a row. A work list has the pairs by expert, ascending inside one, and cuts an expert's into tiles,
// from which any grouped product takes its rows. A grid of no blocks is not to be launched.
#pragma once

#include "vibee/core/device/launch_shape.h"

namespace vibee {

/// logits [rows][experts] -> route [rows][2 * chosen], of the CPU's bytes: the first among equals, NaN never; weights
/// are the softmax over all experts, or, `normalise`, over the chosen ones. chosen <= experts <= kMostRouted.
struct RouteArgs {
  const float* logits;
  float* route;
  uint32_t rows, experts, chosen, normalise;
};

/// Pairs begin .. begin + count of a work list, all of one expert; tiles behind the last have no pairs.
struct RouteTile {
  uint32_t expert, begin, count;
};
/// Expert e has pairs[starts[e]] .. pairs[starts[e + 1]].
struct RouteListArgs {
  const float* route;
  uint32_t* starts;  ///< experts + 1
  uint32_t* pairs;   ///< rows * chosen
  uint32_t* tiles;   ///< route_tiles(...) RouteTiles of at most tile_rows pairs
  uint32_t rows, experts, chosen;
  uint32_t tile_rows, most_tiles;
};

/// out[row] = sum of y[pair] * the pair's weight over the row's pairs in the order of their experts, from 0. y has the
/// type of the kernel's name and rows of n.
struct CombineExpertsArgs {
  const void* y;
  const float* route;
  float* out;
  uint32_t n, chosen;
};

/// Of four rows of logits 48 KB of shared memory hold so many.
constexpr uint32_t kMostRouted = 3072;
constexpr uint32_t kRouteWarps = 4, kMostRouteThreads = 1024, kCombineThreads = 256;

/// Tiles that `pairs` pairs take at most.
constexpr uint32_t route_tiles(uint32_t pairs, uint32_t experts, uint32_t tile_rows) {
  return std::min(pairs, pairs / tile_rows + std::min(pairs, experts));
}
constexpr LaunchShape route_rows_launch(uint32_t rows, uint32_t experts) {
  return {{(rows + kRouteWarps - 1) / kRouteWarps, 1, 1}, kRouteWarps * 32, kRouteWarps * experts * 4};
}
constexpr LaunchShape route_pairs_launch(uint32_t rows, uint32_t experts, uint32_t chosen) {
  return {{experts, 1, 1}, threads_for(uint64_t(rows) * chosen, kMostRouteThreads), 0};
}
/// Behind route_pairs.
constexpr LaunchShape route_tiles_launch() { return {{1, 1, 1}, 32, 0}; }
constexpr LaunchShape combine_experts_launch(uint32_t rows, uint32_t n, uint32_t chosen) {
  const uint32_t threads = threads_for(n, kCombineThreads);
  return {{rows, (n + threads - 1) / threads, 1}, threads, chosen * 4};
}

}  // namespace vibee
