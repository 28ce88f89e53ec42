// SPDX-License-Identifier: Apache-2.0
// What a step costs, counted on the graph: operations and bytes, without running it. Times come from these and the
// machine's measured limits.
#pragma once

#include <optional>
#include <vector>

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

/// The rows of a training step: documents that see themselves alone, and how many rows have a target. Means over many
/// steps are no whole numbers.
struct TrainedRows {
  struct Documents {
    double length, count;
  };
  std::vector<Documents> documents;
  double targets = 0;
  double rows() const;
  /// Rows times the keys that each sees, itself among them; of a layer with a window (0: none).
  double pairs(double window) const;
};
/// Cost of a node of a joint graph (graph/autodiff): what is computed, so that attention's backward pass counts the
/// scores that it makes again, and a loss that makes its gradients has its logits once.
StepCost train_node_cost(const Graph& graph, const Node& node, const TrainedRows& step);
/// The node of the loss whose logits a gradient of it starts from, where that begins with a constant: both need them
/// once then.
std::optional<uint32_t> loss_of(const Graph& graph, const Node& node);

}  // namespace vibee
