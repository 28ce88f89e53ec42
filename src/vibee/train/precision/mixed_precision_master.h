// SPDX-License-Identifier: Apache-2.0
// Matrices in 16 bits for products, the numbers that the optimiser moves in 32 (Micikevicius et al., arXiv:1710.03740):
// beside the copy as a master in f32, as the lower half of it, or not at all. Which matrices that are is a policy over
// the graph: those that every reader takes in any format. Norms, biases, routers and experts stay in f32.
#pragma once

#include <span>
#include <string>

#include "vibee/graph/ir/ir.h"
#include "vibee/train/precision/precision.h"

namespace vibee {

/// Lets the named weights lie in `format` where the policy says so, by their types in a joint graph.
void store_weights(Graph* graph, std::span<const std::string> names, Format format);

/// How a trained weight lies in memory, of which products read `format`.
WeightForm weight_form(const Precision& precision, Format format);

/// The form in which a weight begins: a number of a file is rounded to nearest.
WeightForm first_form(WeightForm form);

}  // namespace vibee
