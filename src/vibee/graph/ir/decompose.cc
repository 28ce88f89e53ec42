// SPDX-License-Identifier: Apache-2.0
#include "vibee/graph/ir/decompose.h"

#include <cmath>

namespace vibee {
namespace {

class Decomposer {
 public:
  Decomposer(const Graph& from, const std::function<bool(const Node&)>& which)
      : from_(from), which_(which), map_(from.values.size()) {}

  Graph run() {
    out_.name = from_.name;
    for (const Node& node : from_.nodes) {
      std::vector<ValueId> in;
      for (ValueId id : node.in) in.push_back(map_[id]);
      if (info(node.op).level == OpLevel::source) {
        map_[node.out[0]] = out_.source(node.op, from_.type(node.out[0]), node.attrs);
      } else if (!which_(node) || !expand(node, in)) {
        const ValueId first = out_.add(node.op, std::move(in), node.attrs);
        for (size_t i = 0; i < node.out.size(); ++i) map_[node.out[i]] = first + ValueId(i);
      }
    }
    VIBEE_CHECK(out_.status().ok(), "{}", out_.status().message());
    for (ValueId id : from_.outputs) out_.outputs.push_back(map_[id]);
    return std::move(out_);
  }

 private:
  ValueId op(Op op, std::vector<ValueId> in, Attrs attrs = {}) { return out_.add(op, std::move(in), std::move(attrs)); }
  ValueId number(double x) { return out_.source(Op::constant, {kF32, {Dim{1}}}, {{"value", x}}); }
  ValueId times(ValueId x, double by) { return op(Op::mul, {x, number(by)}); }
  ValueId plus(ValueId x, double by) { return op(Op::add, {x, number(by)}); }
  ValueId columns(ValueId x, int64_t begin, int64_t end) {
    return op(Op::slice, {x}, {{"begin", begin}, {"end", end}});
  }
  /// The same elements in rows of `width`.
  ValueId in_rows_of(ValueId x, int64_t width) {
    const std::vector<Dim> dims = out_.type(x).dims;
    if (dims[1].n == width) return x;
    return op(Op::reshape, {x}, {{"rows", dims[0].n * dims[1].n / width}, {"cols", width}});
  }

  bool expand(const Node& node, const std::vector<ValueId>& in) {
    ValueId result;
    switch (node.op) {
      case Op::embed:
        result = op(Op::gather, in);
        if (node.number("scale", 1) != 1) result = times(result, node.number("scale"));
        break;
      case Op::rms_norm: result = rms_norm(in[0], in[1], node.number("eps")); break;
      case Op::layer_norm: result = layer_norm(in[0], in[1], in[2], node.number("eps")); break;
      case Op::activation:
        if (node.text("kind") == "gelu" || !out_.type(in[0]).elem.is_f32()) return false;  // erf is no primitive
        result = node.text("kind") == "silu" ? silu(in[0]) : gelu(in[0]);
        break;
      case Op::softmax: result = softmax(in[0]); break;
      case Op::gated:
        if (node.text("gate") == "gelu" || !out_.type(in[0]).elem.is_f32()) return false;  // erf is no primitive
        result = op(Op::mul, {node.text("gate") == "silu" ? silu(in[0]) : gelu(in[0]), in[1]});
        break;
      case Op::soft_cap: result = soft_cap(in[0], node.number("cap")); break;
      case Op::scale: result = times(in[0], node.number("by", 1)); break;
      case Op::linear:
        if (!out_.type(in[0]).elem.is_f32() || !out_.type(in[1]).elem.is_f32()) return false;
        result = product(in[0], in[1]);
        break;
      case Op::linear_dx:
        if (!out_.type(in[1]).elem.is_f32()) return false;
        result = op(Op::matmul, in);
        break;
      case Op::linear_dw:
        if (!out_.type(in[1]).elem.is_f32()) return false;
        result = op(Op::matmul, {op(Op::transpose, {in[0]}), in[1]});
        break;
      case Op::rope: result = rope(node, in[0], in[1]); break;
      case Op::cross_entropy:
        if (!out_.type(in[1]).elem.is_f32()) return false;
        result = cross_entropy(node, in);
        break;
      default: return false;
    }
    map_[node.out[0]] = result;
    return true;
  }

  ValueId product(ValueId x, ValueId weight) { return op(Op::matmul, {x, op(Op::transpose, {weight})}); }
  ValueId soft_cap(ValueId x, double by) {
    const ValueId cap = number(by);
    return op(Op::mul, {op(Op::tanh, {op(Op::div, {x, cap})}), cap});
  }

  ValueId rms_norm(ValueId x, ValueId weight, double eps) {
    const int64_t width = out_.type(x).dims[1].n, n = out_.type(weight).dims[0].n;
    const ValueId groups = in_rows_of(x, n);
    const ValueId mean = op(Op::div, {op(Op::sum, {op(Op::mul, {groups, groups})}), number(double(n))});
    const ValueId root = op(Op::sqrt, {plus(mean, eps)});
    return in_rows_of(op(Op::mul, {op(Op::div, {groups, root}), weight}), width);
  }

  ValueId layer_norm(ValueId x, ValueId weight, ValueId bias, double eps) {
    const double n = double(out_.type(x).dims[1].n);
    const ValueId centred = op(Op::sub, {x, op(Op::div, {op(Op::sum, {x}), number(n)})});
    const ValueId variance = op(Op::div, {op(Op::sum, {op(Op::mul, {centred, centred})}), number(n)});
    const ValueId root = op(Op::sqrt, {plus(variance, eps)});
    return op(Op::add, {op(Op::mul, {op(Op::div, {centred, root}), weight}), bias});
  }

  ValueId softmax(ValueId x) {
    const ValueId e = op(Op::exp, {op(Op::sub, {x, op(Op::reduce_max, {x})})});
    return op(Op::div, {e, op(Op::sum, {e})});
  }

  ValueId silu(ValueId x) { return op(Op::div, {x, plus(op(Op::exp, {op(Op::neg, {x})}), 1)}); }

  ValueId gelu(ValueId x) {
    const ValueId cube = op(Op::mul, {op(Op::mul, {x, x}), x});
    const ValueId u = times(op(Op::add, {x, times(cube, 0.044715)}), std::sqrt(2 / M_PI));
    return op(Op::mul, {times(x, 0.5), plus(op(Op::tanh, {u}), 1)});
  }

  /// Each head a row, and the table repeated for the heads of a row; then the two parts of every pair side by side.
  ValueId rope(const Node& node, ValueId x, ValueId table) {
    const int64_t head_dim = node.integer("head_dim");
    const bool split = node.text("pairs") == "split";
    const int64_t width = out_.type(x).dims[1].n, turned = out_.type(table).dims[1].n, pairs = turned / 2;
    const ValueId heads = in_rows_of(x, head_dim);
    ValueId tables = table;
    for (int64_t h = 1; h < width / head_dim; ++h) tables = op(Op::concat, {tables, table});
    tables = in_rows_of(tables, turned);
    const ValueId cos = columns(tables, 0, pairs), turn = columns(tables, pairs, turned);
    const ValueId sin = node.integer("inverse") != 0 ? op(Op::neg, {turn}) : turn;
    const ValueId part = columns(heads, 0, turned), couples = in_rows_of(part, 2);
    const ValueId a = split ? columns(part, 0, pairs) : in_rows_of(columns(couples, 0, 1), pairs);
    const ValueId b = split ? columns(part, pairs, turned) : in_rows_of(columns(couples, 1, 2), pairs);
    const ValueId one = op(Op::sub, {op(Op::mul, {a, cos}), op(Op::mul, {b, sin})});
    const ValueId two = op(Op::add, {op(Op::mul, {a, sin}), op(Op::mul, {b, cos})});
    ValueId result = split ? op(Op::concat, {one, two})
                           : in_rows_of(op(Op::concat, {in_rows_of(one, 1), in_rows_of(two, 1)}), turned);
    if (turned < head_dim) result = op(Op::concat, {result, columns(heads, turned, head_dim)});
    return in_rows_of(result, width);
  }

  /// The target's logit is the product of the row and the target's row of the weight; -1 gathers zeros. Maps the
  /// second result and gives the first.
  ValueId cross_entropy(const Node& node, const std::vector<ValueId>& in) {
    const double cap = node.number("soft_cap");
    const int64_t n = out_.type(in[1]).dims[0].n;
    ValueId logits = product(in[0], in[1]),
            picked = op(Op::sum, {op(Op::mul, {in[0], op(Op::gather, {in[2], in[1]})})});
    if (in.size() > 4) {
      const ValueId zeros =
          op(Op::expand,
             {number(0), op(Op::transpose, {op(Op::slice, {in[1]}, {{"begin", int64_t(0)}, {"end", int64_t(1)}})})});
      logits = op(Op::add, {logits, in[4]});
      picked = op(Op::add, {picked, op(Op::gather, {in[2], op(Op::transpose, {op(Op::add, {zeros, in[4]})})})});
    }
    if (cap > 0) logits = soft_cap(logits, cap), picked = soft_cap(picked, cap);
    const ValueId top = op(Op::reduce_max, {logits});
    const ValueId sum = op(Op::add, {op(Op::log, {op(Op::sum, {op(Op::exp, {op(Op::sub, {logits, top})})})}), top});
    const ValueId ones = out_.source(Op::constant, {kF32, {Dim{n}, Dim{1}}}, {{"value", 1.0}});
    const ValueId kept = op(Op::mul, {sum, op(Op::gather, {in[2], ones})});
    map_[node.out[1]] = kept;
    return op(Op::sum_to, {op(Op::mul, {in[3], op(Op::sub, {kept, picked})}), number(0)});
  }

  const Graph& from_;
  const std::function<bool(const Node&)>& which_;
  Graph out_;
  std::vector<ValueId> map_;
};

}  // namespace

Graph decompose(const Graph& graph) {
  return decompose(graph, [](const Node&) { return true; });
}
Graph decompose(const Graph& graph, const std::function<bool(const Node&)>& which) {
  return Decomposer(graph, which).run();
}

}  // namespace vibee
