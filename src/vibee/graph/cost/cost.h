// SPDX-License-Identifier: Apache-2.0
// What a step costs, counted on the graph: operations and bytes, without running it. Times come from these and the
// machine's measured limits.
#pragma once

#include "vibee/graph/ir/ir.h"
#include "vibee/kernels/attention/batch.h"

namespace vibee {

struct StepCost {
  double flops = 0;         ///< 2 a multiply-add
  double weight_bytes = 0;  ///< every weight matrix once, embedding rows as asked for
  double kv_bytes = 0;      ///< keys and values read by attention
  double row_bytes = 0;     ///< activations written and read
};
/// Keys that each row sees (at most the window of its layer), and how they are stored.
struct AttendedContext {
  uint32_t keys = 0;
  KvFormat format = KvFormat::f16;
};
/// Cost of one node, and of all nodes, at given sizes.
StepCost node_cost(const Graph& graph, const Node& node, Sizes sizes, AttendedContext context);
StepCost step_cost(const Graph& graph, Sizes sizes, AttendedContext context);

}  // namespace vibee
