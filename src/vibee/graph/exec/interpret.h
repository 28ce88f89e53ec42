// SPDX-License-Identifier: Apache-2.0
// The meaning of a graph: a scalar interpreter of every op, each in the plainest loop that says what it is. Sums run in
// double, results are rounded to float once. Plans, passes and decompositions are compared with it, and gradients with
// differences of it, where nothing is rounded; nothing here is fast.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "vibee/base/random/rounding.h"
#include "vibee/graph/ir/tensor_value.h"
#include "vibee/kernels/pointwise/lora.h"

namespace vibee {

/// Bytes of each weight as a file stores them, row after row, in the format of the weight's type (f32: the floats).
using FileWeights = std::map<std::string, std::vector<uint8_t>, std::less<>>;

template <class T>
using NamedNumbers = std::map<std::string, std::vector<T>, std::less<>>;

template <class T>
struct InterpretInputsOf {
  NamedNumbers<int32_t> integers;     ///< i32 inputs by name: "tokens", "positions"
  NamedNumbers<T> floats;             ///< f32 inputs by name
  std::vector<int32_t> logits_rows;   ///< rows that take_rows keeps, S of them; empty: the last S
  std::span<const LoraWeights> lora;  ///< of the sequence's adapter, one an adapted product; empty: none
  std::vector<LayerKvOf<T>> state;    ///< what the sequence holds before the step, by layer; empty at its start
  RoundingKey rounding = {};          ///< seed and step of what `compress` rounds at random
  float outlier_threshold = 0;        ///< of quantised rows (kernels/gemm/outliers.h); 0: none has outliers
};
using InterpretInputs = InterpretInputsOf<float>;

/// Perturbs results to find out how far rounding alone can move them: every f32 result is multiplied by 1 + relative *
/// u with u uniform in [-1, 1].
struct Noise {
  double relative = 0;
  uint64_t seed = 0;
};

/// The values of the graph's outputs for one sequence: row i of the step stands right after the state's rows and those
/// before it.
Result<std::vector<TensorValue>> interpret(const Graph& graph, const InterpretInputs& inputs,
                                           const FileWeights& weights, Sizes sizes, Noise noise = {});

/// The same in double with no result rounded but by casts, so that `compress` keeps all; weights by name as numbers,
/// whatever format their types name.
Result<std::vector<TensorOf<double>>> interpret_exact(const Graph& graph, const InterpretInputsOf<double>& inputs,
                                                      const NamedNumbers<double>& weights, Sizes sizes);

/// One composite or lowered op (interpret_ops.cc). `state` ops get the sequence through in[].kv; `out` has one value an
/// output.
template <class T>
Status evaluate_composite(const Node& node, std::span<const TensorOf<T>* const> in,
                          std::span<const int32_t> logits_rows, float outlier_threshold, std::span<TensorOf<T>> out);

/// Composites of training graphs: attention among the step's rows, the loss, gradients (interpret_training.cc).
template <class T>
Status evaluate_training(const Node& node, std::span<const TensorOf<T>* const> in, std::span<TensorOf<T>> out);

/// The inputs of a product that rounds them (graph/pass/round_products.h), each as what its codes stand for
/// (interpret_rounded.cc).
template <class T>
std::vector<TensorOf<T>> rounded_operands(const Node& node, std::span<const TensorOf<T>* const> in);
/// The same of a product by a weight that is stored (graph/pass/quantize_aware.h).
template <class T>
std::vector<TensorOf<T>> stored_operands(const Node& node, std::span<const TensorOf<T>* const> in);

/// lora_down, lora_up or linear_lora with the sequence's adapter; without one lora_down gives zeros and the others add
/// nothing.
template <class T>
Status evaluate_lora(const Node& node, std::span<const TensorOf<T>* const> in, std::span<const LoraWeights> adapter,
                     float outlier_threshold, TensorOf<T>* out);

}  // namespace vibee
