// SPDX-License-Identifier: Apache-2.0
// Products of training graphs by weights as they will be stored (graph/pass/quantize_aware.h). Forward: rows, quantised
// as the format's rows are, times panels of the weight: to the bit what a model in that format computes. The gradient
// of the rows is multiplied by the numbers that the panels stand for. A weight is stored once before the nodes of a
// step (TrainPlan::rounded).
#pragma once

#include "vibee/graph/exec/train_plan.h"
#include "vibee/graph/pass/quantize_aware.h"

namespace vibee {

/// What the functions below take for granted.
Status check_stored_product(const Graph& graph, const Node& node);
/// Bytes of the plan's memory for products that it works in, and that its weight is stored in.
uint64_t stored_product_workspace(const Graph& graph, const Node& node, const TrainOptions& options);
/// Adds the product's weight, where it is not among them.
void want_stored_weight(const Graph& graph, const Node& node, const TrainOptions& options,
                        std::vector<RoundedWeight>* all);

/// By all threads: a weight, with no barrier inside or behind; a product.
void store_weight(const TrainWorker& w, const RoundedWeight& weight);
void stored_product(const Node& node, const TrainWorker& w);

}  // namespace vibee
