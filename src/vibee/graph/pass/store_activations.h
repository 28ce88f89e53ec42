// SPDX-License-Identifier: Apache-2.0
// Activations in 16 bits (the precision pass of v1732; Micikevicius et al. 2018, arXiv:1710.03740): what the backward
// part of a joint graph reads of the forward part lies in bf16 or f16 until then. A value is rounded right behind the
// node that makes it, and all readers, forward and backward, see the rounded one, so both are of one function. Products
// and elementwise nodes read 16 bits; other readers get floats back by an exact cast.
//
// The pass comes behind differentiate, which tells what is kept, and before recompute (gradient_checkpointing_v2.h),
// which makes floats anew for the backward part at every level, so that the forward part's die early: what is rounded
// does not depend on what is computed again, so all levels have the same bytes.
#pragma once

#include "vibee/graph/ir/ir.h"

namespace vibee {

/// The joint graph with what it keeps in `compute`: bf16 or f16 (beyond whose range a value becomes infinite); f32: as
/// it is.
Graph store_activations(const Graph& joint, Format compute);

}  // namespace vibee
