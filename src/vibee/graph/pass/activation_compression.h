// SPDX-License-Identifier: Apache-2.0
// Compressed activations (v1731; ActNN: Chen et al., ICML 2021; GACT: Liu et al., ICML 2022): what the backward part of
// a joint graph reads of the forward part lies in few bits until then (kernels/pointwise/compress.h). The forward part
// computes with the values as they are, so the loss does not change; the backward part reads ones that are rounded at
// random, whose expected value is the value. A gradient of a weight of a product is right in expectation too; what is
// curved in the value it reads (norms, activations, softmax) has an error that shrinks with 4^-bits.
//
// The pass comes last, behind recompute (gradient_checkpointing_v2.h): what is computed again is not kept, what it is
// computed from is compressed. Floats are made where the backward part first reads a value.
#pragma once

#include "vibee/graph/ir/ir.h"

namespace vibee {

/// A value that the pass may compress: rows of the forward part that the backward part reads. Not routes, log-sum-exps
/// and rotations, and not what the loss reads, whose gradients start from it at once.
struct SavedValue {
  ValueId id;
  std::string name;  ///< its op and the weight that it reads, or that one before it read
  uint64_t width;    ///< numbers a row
};
std::vector<SavedValue> saved_values(const Graph& joint);

/// Bits a number, 1, 2, 4 or 8; 0: as it is.
struct SavedBits {
  uint8_t all = 0;
  std::vector<uint8_t> each = {};  ///< where given, one a saved value, in order
  bool none() const { return all == 0 && each.empty(); }
  uint8_t of(size_t i) const { return each.empty() ? all : i < each.size() ? each[i] : 0; }
};

/// The joint graph with what it keeps in so many bits.
Graph compress_activations(const Graph& joint, const SavedBits& bits);

}  // namespace vibee
