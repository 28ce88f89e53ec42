// SPDX-License-Identifier: Apache-2.0
// What a graph reads of a model's file.
#pragma once

#include <string>
#include <vector>

#include "vibee/graph/ir/ir.h"
#include "vibee/kernels/gemm/panel.h"

namespace vibee {

/// A weight of the graph: a matrix (or stack of matrices) in panels, or a vector of floats.
struct GraphWeight {
  std::string name;
  bool matrix = false;
  PackedWeight shape;   ///< of a matrix
  uint64_t length = 0;  ///< of a vector
};

/// Every weight that the graph reads, once.
std::vector<GraphWeight> weights_of(const Graph& graph, Isa isa);

}  // namespace vibee
