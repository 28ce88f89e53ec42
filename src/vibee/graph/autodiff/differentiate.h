// SPDX-License-Identifier: Apache-2.0
// The backward graph, made by rewriting the forward one: reverse accumulation node by node, by the rules of
// gradients.inc, into nodes of the same IR. What needs no gradient gets none, so frozen weights cost nothing.
#pragma once

#include <span>
#include <string>

#include "vibee/graph/ir/ir.h"

namespace vibee {

/// The joint graph of `loss`, whose only output is f32[1]: outputs are the loss, then the gradient of every named
/// weight in f32, in the weight's shape and in this order. A value that is used several times has its gradients summed
/// in the order in which they are made, last reader first.
///
/// Nodes of the backward part have an attribute `phase`: "I" where a gradient towards something computed needs them,
/// "W" where gradients towards weights alone do. Schedules of pipelines move W behind I.
///
/// An error names a weight that the graph does not have, that is not of floats (f32, f16, bf16), or that no gradient
/// reaches, or an op that no gradient passes and why.
Result<Graph> differentiate(const Graph& loss, std::span<const std::string> weights);

/// Names of the weights of floats that gradients of the outputs can reach, in the graph's order: what full training
/// wants.
std::vector<std::string> trainable_weights(const Graph& graph);

}  // namespace vibee
