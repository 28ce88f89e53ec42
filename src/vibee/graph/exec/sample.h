// SPDX-License-Identifier: Apache-2.0
// What a graph needs to run when there is no model: random weights by the names and types of its weight nodes, and
// pages for its keys and values.
#pragma once

#include "vibee/graph/exec/interpret.h"
#include "vibee/graph/exec/plan.h"

namespace vibee {

/// Random weights, as file rows and as the panels of one instruction set. Matrices are normal with deviation 1/sqrt(k),
/// vectors lie around 1.
class SampleWeights {
 public:
  static Result<SampleWeights> make(const Graph& graph, Isa isa, uint64_t seed);
  const FileWeights& files() const { return files_; }
  /// Refers to this object, which must outlive it and stay where it is.
  WeightTable table() const;

 private:
  FileWeights files_;
  std::map<std::string, PackedWeight, std::less<>> matrices_;
  std::map<std::string, std::vector<float>, std::less<>> vectors_;
  std::vector<HugeBuffer> panels_;
};

/// Pages for `sequences` sequences of up to `context` positions, for every layer that the graph's kv_append and
/// linear_qkv nodes name. Pages of different sequences alternate in memory.
class SampleCache {
 public:
  static Result<SampleCache> make(const Graph& graph, KvFormat format, uint32_t sequences, uint32_t context);
  std::span<const KvView> views() const { return views_; }
  const uint32_t* pages(uint32_t sequence) const { return pages_[sequence].data(); }

 private:
  std::vector<KvView> views_;
  std::vector<std::vector<uint32_t>> pages_;
  HugeBuffer store_;
};

}  // namespace vibee
