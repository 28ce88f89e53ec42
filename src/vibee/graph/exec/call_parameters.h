// SPDX-License-Identifier: Apache-2.0
// What a call knows of its node, whatever runs it: the numbers of its attributes and types, and which of its inputs are
// weights.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "vibee/graph/ir/ir.h"
#include "vibee/kernels/attention/attention.h"
#include "vibee/kernels/pointwise/pointwise.h"

namespace vibee {

/// What an embedding looks up for a row of the step.
enum class RowIds : uint8_t { tokens, positions, types };

/// Each op uses its own.
struct CallParameters {
  Op op{};
  std::vector<ValueId> in, out;
  AttentionShape shape;
  std::vector<double> frequencies;  ///< of a rotation table
  float eps = 0, by = 0;
  RowIds ids = RowIds::tokens;  ///< that an embed reads
  Pooling pooling = Pooling::mean;
  uint32_t layer = 0, width = 0, head_dim = 0, pairs = 0, norm_width = 0;
  uint32_t target = 0;     ///< number of an adapted product
  uint32_t chosen = 0;     ///< experts a row, of the moe ops
  bool normalise = false;  ///< their weights sum to one
  Gate gate = Gate::silu;
  bool split_halves = false;
  bool quantized = false;         ///< the output is quantised rows
  bool quantized_rows = false;    ///< the first input is
  ActRule rule = ActRule::block;  ///< how it quantises rows
  std::string label;              ///< for the profile: its first weight
};

/// A vector of floats that was loaded, by name; null: there is none.
using VectorTable = std::function<const float*(std::string_view)>;
/// `vectors` are asked for the factors of a rotation table, which are checked. The node has passed check_runnable.
Result<CallParameters> call_parameters(const Graph& graph, const Node& node, const VectorTable& vectors);

/// What an attention, a self_attention or a linear_qkv says of its attention.
AttentionShape attention_shape(const Node& node);

/// Whether input `i` of an op is a weight of the file when a plan runs it.
bool takes_weight(const Graph& graph, const Node& node, size_t i);
/// Of those a vector, which has one dimension, or a matrix.
inline bool is_vector(const Type& type) { return type.dims.size() < 2; }
/// A product whose weight is an integer format but whose rows are floats (pass quantize_activations did not run).
bool quantizes_rows(const Graph& graph, const Node& node);
/// The ops whose weights are those of experts.
constexpr bool is_expert(Op op) { return op == Op::moe_gated || op == Op::moe_down; }
/// What the calls take for granted beyond the type rules: rows of the step in, weights from the file, no broadcasting.
Status check_runnable(const Graph& graph, const Node& node);

}  // namespace vibee
