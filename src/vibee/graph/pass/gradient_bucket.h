// SPDX-License-Identifier: Apache-2.0
// Gradients in buckets (Li et al., PyTorch DDP, VLDB 2020): a collective a tensor pays a latency each, one for all
// waits for the last gradient. Buckets are runs of the order in which a training graph finishes its gradients.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "vibee/graph/ir/ir.h"

namespace vibee {

/// The outputs that are final behind each node, in the graph's order; the last list has those that no node computes.
std::vector<std::vector<uint32_t>> final_outputs(const Graph& graph);
/// All outputs in the order in which they become final.
std::vector<uint32_t> ready_order(const Graph& graph);

/// How full a bucket gets: it is closed with the gradient that makes it so.
struct BucketRule {
  uint64_t first = 1 << 20;   ///< bytes of the first bucket, so that traffic starts early
  uint64_t bytes = 25 << 20;  ///< of the others; 1: one a tensor, UINT64_MAX: one for all
};
/// Sizes in the order of readiness; the answer is where each bucket ends. No bucket is empty, a size above the rule has
/// a bucket that it closes.
std::vector<size_t> bucket_ends(std::span<const uint64_t> bytes, const BucketRule& rule);

/// What a link takes for a bucket.
struct LinkCost {
  double latency;  ///< seconds a collective
  double seconds_per_byte;
};
/// When the last of the buckets has been reduced: a link serves them in order, each from when its last gradient is
/// ready. `ready` rises.
double bucket_finish(std::span<const double> ready, std::span<const uint64_t> bytes, std::span<const size_t> ends,
                     const LinkCost& link);
/// The cut that finishes first, by F(j) = min over i < j of max(F(i), ready_j) + T(bytes of i+1..j). O(n^2).
std::vector<size_t> best_bucket_ends(std::span<const double> ready, std::span<const uint64_t> bytes,
                                     const LinkCost& link);

}  // namespace vibee
