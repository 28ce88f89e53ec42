// SPDX-License-Identifier: Apache-2.0
// Composites in terms of primitives: their definition by smaller ops, for export and differentiation. Sums keep the
// composite's order; intermediate results are rounded to float, so values differ from the composite's by roundings
// only.
//
// What stays as it is, and why:
//   attention, kv_append     state is opaque: no primitive reads or writes it
//   self_attention           its mask is made of row numbers, and no primitive compares those
//   moe ops                  which weights a row meets is a value
//   X_dx, X_dw               the gradient of the decomposed X, products' excepted (graph/autodiff)
//   rope_table               there is no sine, and no conversion of i32 positions to f32
//   take_rows                the rows asked for are no value of the graph
//   linear on stored formats other than f32, and on act8 rows: no primitive decodes a format
//   lowered ops              passes make them after any decomposition
#pragma once

#include <functional>

#include "vibee/graph/ir/ir.h"

namespace vibee {

Graph decompose(const Graph& graph);
/// Only the nodes that `which` names.
Graph decompose(const Graph& graph, const std::function<bool(const Node&)>& which);

}  // namespace vibee
