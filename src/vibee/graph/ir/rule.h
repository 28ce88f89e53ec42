// SPDX-License-Identifier: Apache-2.0
// What the type rule of an op sees: its node and the types of its inputs. A rule that fails says which op, and what it
// received.
#pragma once

#include "vibee/graph/ir/ir.h"

namespace vibee {

struct Rule {
  const Graph& g;
  const Node& node;

  const Type& in(size_t i) const { return g.type(node.in[i]); }
  /// Names the op and the types that it received.
  Status wrong(std::string_view why) const;
  bool f32(size_t i, size_t rank) const { return in(i).elem.is_f32() && in(i).dims.size() == rank; }
  bool floats(size_t i, size_t rank) const { return in(i).elem.is_float() && in(i).dims.size() == rank; }
  static Type rows_of(Dim rows, int64_t n, Elem elem = kF32) { return {elem, {rows, Dim{n}}}; }

  /// Shapes broadcast from the right as in NumPy, sizes equal or 1.
  Result<Type> broadcast(Elem elem) const;
  /// Checks a weight [n, k] against rows of width k and gives n. Rows of 16 bits are for products alone.
  Result<int64_t> weight(size_t x, size_t w) const;
  /// Attributes of heads in the range that keeps their products small.
  bool heads(int64_t* heads, int64_t* kv, int64_t* d) const;
  /// Rows that may be quantised: whole blocks of 32 columns.
  /// Rows quantised as the node's rule says.
  Result<Elem> act_elem() const;
  Result<Type> quantizable(Dim rows, int64_t n) const;
  bool activation(std::string_view key) const {
    return node.text(key) == "silu" || node.text(key) == "gelu_tanh" || node.text(key) == "gelu";
  }
  /// Attributes `a` and `b` of a product, where it has them, name what its operands are rounded to.
  Status operand_forms() const;
  Result<std::vector<Type>> run() const;

 private:
  Result<std::vector<Type>> attention() const;
  Result<std::vector<Type>> moe() const;
  Result<std::vector<Type>> linear_qkv() const;
  Result<std::vector<Type>> lora() const;
  // Of training graphs (infer_training.cc).
  Result<std::vector<Type>> self_attention() const;
  Result<std::vector<Type>> cross_entropy() const;
  Result<std::vector<Type>> gradient() const;
  Result<std::vector<Type>> moe_gradient() const;
};

}  // namespace vibee
