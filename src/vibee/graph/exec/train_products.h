// SPDX-License-Identifier: Apache-2.0
// Products of training graphs whose operands are rounded (graph/pass/round_products.h). What is multiplied is a [m, k]
// times b [n, k]: rows by a weight, a gradient by a weight, or a gradient by rows, both with depth across what is
// stored. Weights are rounded once before the nodes of a step (TrainPlan::rounded), whatever number of parts it has.
#pragma once

#include "vibee/graph/exec/train_plan.h"

namespace vibee {

/// A loss over a vocabulary, or its gradients, whose products with the head are in bf16.
inline bool is_rounded_loss(const Node& node) {
  return (node.op == Op::cross_entropy || node.op == Op::cross_entropy_dx || node.op == Op::cross_entropy_dw) &&
         node.has("a");
}

/// What the functions below take for granted.
Status check_rounded_product(const Graph& graph, const Node& node);
/// Bytes of the plan's memory for products that it works in.
uint64_t rounded_product_workspace(const Graph& graph, const Node& node, const TrainOptions& options);
/// Adds what the product reads of a weight, where that is not among them.
void want_rounded_weight(const Graph& graph, const Node& node, std::vector<RoundedWeight>* all);
const RoundedWeight* find_rounded_weight(const Graph& graph, const Node& node, std::span<const RoundedWeight> all);

/// Says the largest size of every weight that has a number (OperandScales); by one thread.
void tell_weights(const TrainWorker& w);
/// By all threads: a weight, with barriers inside and none behind; a product.
void round_weight(const TrainWorker& w, const RoundedWeight& weight);
void rounded_product(const Node& node, const TrainWorker& w);

/// The products of a rounded loss, of chunks of its rows; by all threads, barriers inside and none behind. x [rows][k]
/// times the head's weight [n][k] -> out [rows][n]; slopes g [rows][n] times the weight -> out [rows][k]; and g by x ->
/// out [n][k], whose sums go on with what is there.
void rounded_logits(const Node& loss, const TrainWorker& w, const float* x, uint32_t rows, float* out);
void rounded_loss_dx(const Node& loss, const TrainWorker& w, const float* g, uint32_t rows, float* out);
void rounded_loss_dw(const Node& loss, const TrainWorker& w, const float* g, const float* x, uint32_t rows, float* out,
                     bool goes_on);

}  // namespace vibee
