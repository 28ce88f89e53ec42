// SPDX-License-Identifier: Apache-2.0
// Selective recomputation (v1730; Chen et al. 2016; Korthikanti et al. 2022): the backward part of a joint graph
// computes some values of the forward part once more, just before it first reads them, instead of keeping them since.
// The same functions read the same values, so every gradient keeps its bytes. Values that are kept in 16 bits become
// floats again in the backward part at every level.
#pragma once

#include <optional>
#include <span>
#include <string_view>

#include "vibee/graph/ir/ir.h"

namespace vibee {

/// What is computed again; each level has that of the one before. Sums of the residual stream (up to `full`), the
/// result of embedding, which experts a row chose and what the loss reads are kept at all of them.
enum class Recompute : uint8_t {
  none,
  cheap,  ///< norms, activations and products of gates: no matrix is multiplied twice
  proj,   ///< and products by weights, experts' too, with their biases and rotations
  full,   ///< and attention: one more forward pass
  sqrt,   ///< and the residual stream, but for the input of every ceil(sqrt(layers))-th layer: two more forward passes
};

struct RecomputeName {
  Recompute level;
  std::string_view name;
};
std::span<const RecomputeName> recompute_levels();

/// The joint graph (graph/autodiff/differentiate.h) with copies of forward nodes in its backward part; they have the
/// phase "R".
Graph recompute(const Graph& joint, Recompute level);
/// With a level for each layer of layers_of(joint), up to `full`; what is behind the last one has that of the last.
Graph recompute(const Graph& joint, std::span<const Recompute> levels);

/// Layers as the names of weights number them (blk.N.); at least 1.
uint32_t layers_of(const Graph& joint);
/// The layer of each node: the last one whose weights are in what it computes; before them, the first.
std::vector<uint32_t> layer_of_nodes(const Graph& joint);

}  // namespace vibee
