// SPDX-License-Identifier: Apache-2.0
// The tensor IR: a model is a list of nodes in SSA form with typed values and symbolic sizes. Sequence state is a value
// too
// (%s1 = kv_append(%s0, %k, %v)), so no pass can drop or reorder a write. A graph prints to text and parses back.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "vibee/base/status/status.h"
#include "vibee/formats/packed/format.h"
#include "vibee/kernels/gemm/act.h"

namespace vibee {

enum class Op : uint8_t {
#define VIBEE_OP(name, level, fewest, most, outputs) name,
#include "vibee/graph/ir/ops.inc"
#undef VIBEE_OP
};
enum class OpLevel : uint8_t { source, primitive, composite, lowered };
struct OpInfo {
  Op op;
  std::string_view name;
  OpLevel level;
  uint32_t fewest, most, outputs;
};
const OpInfo& info(Op op);
const OpInfo* find_op(std::string_view name);

/// Largest size of a value without its symbol, and of all its sizes multiplied: with at most 2^16 rows in a step every
/// count of elements and bytes stays inside 64 bits.
inline constexpr int64_t kMaxDim = int64_t(1) << 20, kMaxElements = int64_t(1) << 40;

/// Element of a value: floats, integers, a stored format (weights), quantised rows (kernels/gemm/act.h), opaque state,
/// or rows that are kept in few bits (kernels/pointwise/compress.h).
struct Elem {
  enum Kind : uint8_t { stored, i32, act8, state, compressed } kind = stored;
  Format format = Format::f32;    ///< for kind == stored
  uint8_t bits = 0;               ///< for kind == compressed: 1, 2, 4, 8
  ActRule rule = ActRule::block;  ///< for kind == act8
  bool operator==(const Elem&) const = default;
  bool is_f32() const { return kind == stored && format == Format::f32; }
  /// f32, or floats of 16 bits.
  bool is_float() const { return is_f32() || (kind == stored && (format == Format::f16 || format == Format::bf16)); }
};
inline constexpr Elem kF32{Elem::stored, Format::f32}, kI32{Elem::i32, Format::f32}, kAct8{Elem::act8, Format::f32},
    kState{Elem::state, Format::f32}, kRow8{Elem::act8, Format::f32, 0, ActRule::row};
/// Rows quantised by the rule of this name (act.h).
std::optional<Elem> find_quantized(std::string_view name);

/// n, or n times a symbol: 'T' rows of the step, 'S' rows whose logits are wanted (one a sequence where rows are
/// pooled).
struct Dim {
  int64_t n = 1;
  char symbol = 0;
  bool operator==(const Dim&) const = default;
};
inline constexpr Dim kRows{1, 'T'}, kLogitsRows{1, 'S'};
/// Values of the symbols.
struct Sizes {
  int64_t t = 0, s = 0;
};
constexpr int64_t value(Dim d, Sizes sizes) {
  return d.symbol == 'T' ? d.n * sizes.t : d.symbol == 'S' ? d.n * sizes.s : d.n;
}

struct Type {
  Elem elem;
  std::vector<Dim> dims;
  bool operator==(const Type&) const = default;
};
/// Elements, and bytes in memory, at given sizes; 0 bytes for state.
int64_t elements(const Type& type, Sizes sizes);
uint64_t bytes(const Type& type, Sizes sizes);
std::string to_string(const Type& type);

using Attr = std::variant<int64_t, double, std::string>;
using Attrs = std::vector<std::pair<std::string, Attr>>;
using ValueId = uint32_t;

/// A `constant` has an f32 type of known sizes and its values as an attribute: {value=2.0} for every element, or one
/// number an element in row order, {values="1 2.5 -3"}. A `weight` and an `input` have a {name="..."}.
struct Node {
  Op op;
  std::vector<ValueId> in, out;
  Attrs attrs;
  int64_t integer(std::string_view key, int64_t otherwise = 0) const;
  double number(std::string_view key, double otherwise = 0) const;
  std::string_view text(std::string_view key) const;
  const Attr* find(std::string_view key) const;
  bool has(std::string_view key) const { return find(key) != nullptr; }
};
/// A product whose operands are rounded to the forms that its attributes `a` and `b` name
/// (kernels/gemm/operand_form.h).
inline bool is_rounded_product(const Node& node) {
  return (node.op == Op::linear || node.op == Op::linear_dx || node.op == Op::linear_dw) && node.has("a");
}
struct Value {
  Type type;
  uint32_t producer;  ///< index of its node
};

class Graph {
 public:
  std::string name;
  std::vector<Value> values;
  std::vector<Node> nodes;
  std::vector<ValueId> outputs;

  /// A source node of an explicit type.
  ValueId source(Op op, Type type, Attrs attrs);
  /// Adds a node; types of its outputs are inferred. Returns the first output; the others follow it. The first error
  /// sticks in status() and later calls do nothing.
  ValueId add(Op op, std::vector<ValueId> in, Attrs attrs = {});
  const Status& status() const { return status_; }
  const Type& type(ValueId id) const { return values[id].type; }
  const Node& producer(ValueId id) const { return nodes[values[id].producer]; }
  /// How often each value is read, outputs included.
  std::vector<uint32_t> uses() const;

 private:
  Status status_;
};

/// Types of the node's outputs from those of its inputs; the error names the op and the types received.
Result<std::vector<Type>> infer(const Graph& graph, const Node& node);
/// Checks a declared type: sizes in range, whole blocks in stored rows.
Status check_type(const Type& type);
/// Checks a whole graph: order, arity, types, single definition, states used once. The error names node and value;
/// `bad_node` gets the node's index (nodes.size() for the outputs).
Status verify(const Graph& graph, size_t* bad_node = nullptr);

/// The text form; parse(print(g)) == g up to value numbers.
std::string print(const Graph& graph);
Result<Graph> parse_graph(std::string_view text);

/// Nodes rebuilt in order without those whose outputs nobody needs; value ids change.
Graph drop_dead(const Graph& graph);

}  // namespace vibee
