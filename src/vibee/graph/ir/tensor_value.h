// SPDX-License-Identifier: Apache-2.0
// Values of a graph as plain vectors, and the meaning of the primitive ops over them: sums in double, every result
// rounded to float once, or, over doubles, not at all. What the interpreter, constant folding and tests share.
#pragma once

#include <span>
#include <vector>

#include "vibee/graph/ir/ir.h"

namespace vibee {

/// Keys and values of one layer and one sequence, row after row, as they were appended.
template <class T>
struct LayerKvOf {
  std::vector<T> k, v;
};
using LayerKv = LayerKvOf<float>;

/// One value. f32, stored formats (decoded), act8 (the numbers q * da that the codes stand for) and compressed rows
/// (the numbers that they give back) are in `f`, integers in `i`, state in `kv`, by layer.
template <class T>
struct TensorOf {
  Type type;
  std::vector<int64_t> dims;  ///< of `type` at the sizes of the step
  std::vector<T> f;
  std::vector<int32_t> i;
  std::vector<LayerKvOf<T>> kv;
  int64_t rows() const { return dims[0]; }
  int64_t width() const { return dims[1]; }
};
using TensorValue = TensorOf<float>;

/// An empty value of a type: dims set, `f` or `i` sized. An error when it would take more than 2^28 elements.
template <class T = float>
Result<TensorOf<T>> make_value(const Type& type, Sizes sizes);

/// Whether a `constant` node and its declared type agree (ir.h has the form); allocates nothing.
Status check_constant(const Node& node, const Type& type);
/// Its float values in row order.
Result<std::vector<float>> constant_values(const Node& node, const Type& type);
/// Attributes that constant_values reads back exactly.
Attrs constant_attrs(std::span<const float> values);

/// Evaluates a primitive op; `out` is sized by make_value. Indices outside a table are errors.
template <class T>
Status evaluate_primitive(const Node& node, std::span<const TensorOf<T>* const> in, TensorOf<T>* out);

}  // namespace vibee
