// SPDX-License-Identifier: Apache-2.0
// The gradient of every op against differences of a loss over it, and of every op with a rule of its own against that
// of its decomposition.
#include <gtest/gtest.h>

#include <set>

#include "vibee/graph/autodiff/gradient_rules.h"
#include "vibee/graph/ir/decompose.h"
#include "vibee/kit/gradient_check.h"

namespace vibee {
namespace {

constexpr int kTrials = 6;

/// What an op is tried with. Numbers are normal, or as their kind says: `even` and `odd` multiples of 0.1 are apart,
/// where the op has a kink.
struct Operand {
  enum Kind : uint8_t { any, positive, even, odd, bits, order, turns, below, documents, targets } kind = any;
  Type type;
  bool wanted = true;  ///< a weight whose gradient is checked
  uint32_t limit = 0;  ///< of integers
};
Operand wanted(std::vector<Dim> dims, Operand::Kind kind = Operand::any) { return {kind, {kF32, std::move(dims)}}; }
Operand given(std::vector<Dim> dims, Operand::Kind kind = Operand::any) {
  return {kind, {kF32, std::move(dims)}, false};
}
Operand ids(Operand::Kind kind, uint32_t limit = 0, Dim rows = kRows) { return {kind, {kI32, {rows}}, false, limit}; }

class OpGradients {
 public:
  explicit OpGradients(uint64_t seed) : random_(seed, Purpose::test) {}

  /// Builds sum(c * op(operands)) with random c and checks it.
  void check(Op op, const std::vector<Operand>& operands, Attrs attrs = {}, bool parts = false) {
    GradientCase c;
    c.sizes = {rows, 1};
    std::vector<ValueId> in;
    std::vector<std::string> names;
    for (const Operand& o : operands) {
      const std::string name = fmt::format("x{}", in.size());
      in.push_back(c.loss.source(o.wanted ? Op::weight : Op::input, o.type, {{"name", name}}));
      fill(o, size_t(elements(o.type, c.sizes)), name, &c);
      if (o.wanted) names.push_back(name);
    }
    ValueId y = c.loss.add(op, std::move(in), std::move(attrs));
    ASSERT_TRUE(c.loss.status().ok()) << c.loss.status().message();
    const Type type = c.loss.type(y);
    const ValueId by = c.loss.source(Op::input, type, {{"name", std::string("by")}});
    fill({Operand::any, type, false}, size_t(elements(type, c.sizes)), "by", &c);
    const ValueId one = c.loss.source(Op::constant, {kF32, {Dim{1}}}, {{"value", 1.0}});
    c.loss.outputs = {c.loss.add(Op::sum_to, {c.loss.add(Op::mul, {y, by}), one})};
    ASSERT_TRUE(c.loss.status().ok()) << c.loss.status().message();
    SCOPED_TRACE(print(c.loss));
    expect_gradients(c, names, 40, 1e-6, random_);
    seen.insert(op);
    if (!parts) return;
    const auto own = gradients(c, names);
    c.loss = decompose(c.loss);
    for (const Node& node : c.loss.nodes) EXPECT_NE(node.op, op);
    const auto other = gradients(c, names);
    ASSERT_EQ(own.size(), other.size());
    for (size_t o = 0; o < own.size(); ++o)
      for (size_t i = 0; i < own[o].f.size(); ++i)
        EXPECT_NEAR(own[o].f[i], other[o].f[i], 1e-6 * (1 + std::fabs(own[o].f[i])));  // constants of parts are floats
  }

  uint32_t below(uint32_t n) { return random_.below(n); }
  int64_t rows = 1;
  std::set<Op> seen;

 private:
  void fill(const Operand& o, size_t count, const std::string& name, GradientCase* c) {
    if (o.type.elem == kI32) {
      std::vector<int32_t>& v = c->inputs.integers[name];
      for (size_t i = 0; i < count; ++i) switch (o.kind) {
          case Operand::documents: v.push_back(i == 0 || below(3) == 0 ? int32_t(i) : v[i - 1]); break;
          case Operand::targets: v.push_back(i > 0 && below(4) == 0 ? -1 : int32_t(below(o.limit))); break;
          default: v.push_back(int32_t(below(o.limit)));
        }
      return;
    }
    std::vector<double> v(count);
    for (double& x : v) {
      x = double(random_.normal());
      if (o.kind == Operand::positive) x = 0.5 + std::fabs(x);
      if (o.kind == Operand::even || o.kind == Operand::odd)
        x = 0.2 * std::round(x / 0.2) + (o.kind == Operand::odd ? 0.1 : 0);
      if (o.kind == Operand::bits) x = double(below(2));
      if (o.kind == Operand::turns) x = std::cos(x);
    }
    if (o.kind == Operand::order)
      for (size_t i = 0; i < count; ++i) {  // a random permutation
        v[i] = double(i);
        std::swap(v[i], v[below(uint32_t(i) + 1)]);
      }
    (o.wanted ? c->weights : c->inputs.floats)[name] = std::move(v);
  }

  RandomStream random_;
};

TEST(Gradient, EveryOpAgainstDifferences) {
  OpGradients t(91);
  for (int trial = 0; trial < kTrials; ++trial) {
    t.rows = 1 + t.below(6);
    const int64_t n = 1 + t.below(5), m = 2 + t.below(4);
    const Dim w{n};
    const std::vector<Dim> rows = {kRows, w}, column = {kRows, Dim{1}}, vec = {w}, one = {Dim{1}};
    for (Op op : {Op::add, Op::sub, Op::mul, Op::div, Op::maximum, Op::minimum}) {
      const bool kink = op == Op::maximum || op == Op::minimum;
      const Operand::Kind left = kink ? Operand::even : Operand::any;
      const Operand::Kind kind = kink ? Operand::odd : op == Op::div ? Operand::positive : Operand::any;
      t.check(op, {wanted(rows, left), wanted(rows, kind)});
      t.check(op, {wanted(rows, left), wanted(vec, kind)});
      t.check(op, {wanted(column, left), wanted(rows, kind)});
      t.check(op, {wanted(rows, left), wanted(column, kind)});
      t.check(op, {wanted(one, left), wanted({Dim{2}, Dim{3}, w}, kind)});
    }
    for (Op op : {Op::neg, Op::exp, Op::tanh}) t.check(op, {wanted(rows)});
    t.check(Op::abs, {wanted(rows, Operand::odd)});
    for (Op op : {Op::log, Op::sqrt}) t.check(op, {wanted(rows, Operand::positive)});
    t.check(Op::select, {given(rows, Operand::bits), wanted(rows), wanted(rows)});
    t.check(Op::reshape, {wanted({kRows, Dim{n * m}})}, {{"rows", n}, {"cols", m}});
    t.check(Op::transpose, {wanted(rows)});
    t.check(Op::slice, {wanted({kRows, Dim{n + m}})}, {{"begin", n - 1}, {"end", n + 1}});
    t.check(Op::pad, {wanted(rows)}, {{"before", m}, {"after", n - 1}});
    t.check(Op::concat, {wanted(rows), wanted({kRows, Dim{m}})});
    t.check(Op::sum, {wanted(rows)});
    t.check(Op::reduce_max, {wanted(rows)});
    t.check(Op::expand, {wanted(vec), given(rows)});
    t.check(Op::expand, {wanted(column), given(rows)});
    t.check(Op::sum_to, {wanted(rows), given(vec)});
    t.check(Op::sum_to, {wanted(rows), given(column)});
    t.check(Op::matmul, {wanted({kRows, Dim{m}}), wanted({Dim{m}, w})});
    t.check(Op::gather, {ids(Operand::targets, uint32_t(m)), wanted({Dim{m}, w})});
    t.check(Op::scatter, {ids(Operand::targets, uint32_t(m)), wanted(rows), given({Dim{m}, w})});
    t.check(Op::embed, {ids(Operand::below, uint32_t(m)), wanted({Dim{m}, w})}, {{"scale", 2.5}}, true);
    for (const int64_t inverse : {0, 1})
      t.check(Op::permute_columns, {wanted(rows), given(vec, Operand::order)}, {{"inverse", inverse}});
    t.check(Op::scale, {wanted(rows)}, {{"by", -0.75}}, true);
    t.check(Op::linear, {wanted(rows), wanted({Dim{m}, w})}, {}, true);
    t.check(Op::linear_dx, {wanted({kRows, Dim{m}}), wanted({Dim{m}, w})}, {}, true);
    t.check(Op::linear_dw, {wanted(rows), wanted({kRows, Dim{m}})}, {}, true);
    t.check(Op::softmax, {wanted({kRows, Dim{m}})}, {}, true);
    t.check(Op::soft_cap, {wanted(rows)}, {{"cap", 1.5}}, true);
    for (const char* kind : {"silu", "gelu_tanh", "gelu"}) {
      const bool parts = std::string_view(kind) != "gelu";  // erf is no primitive
      t.check(Op::activation, {wanted(rows)}, {{"kind", std::string(kind)}}, parts);
      t.check(Op::gated, {wanted(rows), wanted(rows)}, {{"gate", std::string(kind)}}, parts);
    }
    const std::vector<Dim> groups = {kRows, Dim{2 * m}};
    t.check(Op::rms_norm, {wanted(groups), wanted({Dim{m}})}, {{"eps", 0.01}}, true);
    t.check(Op::rms_norm, {wanted(groups), wanted({Dim{2 * m}})}, {{"eps", 0.01}}, true);
    t.check(Op::layer_norm, {wanted(groups), wanted({Dim{2 * m}}), wanted({Dim{2 * m}})}, {{"eps", 0.01}}, true);
    for (const char* pairs : {"split", "adjacent"})
      for (int64_t inverse : {0, 1})
        t.check(Op::rope, {wanted({kRows, Dim{3 * 2 * m}}), given({kRows, Dim{2 * (1 + m / 2)}}, Operand::turns)},
                {{"head_dim", 2 * m}, {"pairs", std::string(pairs)}, {"inverse", inverse}}, true);
  }
  for (int trial = 0; trial < kTrials; ++trial) {
    t.rows = 1 + t.below(9);
    const int64_t kv = 1 + t.below(2), heads = kv * (1 + t.below(3)), d = 2 + t.below(4);
    Attrs attrs = {{"heads", heads}, {"kv_heads", kv}, {"head_dim", d}, {"scale", 0.6}};
    if (trial % 2) attrs.emplace_back("window", int64_t(1 + t.below(4)));
    if (trial % 3) attrs.emplace_back("soft_cap", 1.5);
    t.check(Op::self_attention,
            {wanted({kRows, Dim{heads * d}}), wanted({kRows, Dim{kv * d}}), wanted({kRows, Dim{kv * d}}),
             ids(Operand::documents)},
            attrs);
    const int64_t v = 2 + t.below(7), k = 1 + t.below(4);
    std::vector<Operand> head = {wanted({kRows, Dim{k}}), wanted({Dim{v}, Dim{k}}), ids(Operand::targets, uint32_t(v)),
                                 given({kRows, Dim{1}}, Operand::positive)};
    if (trial % 2) head.push_back(wanted({Dim{v}}));
    t.check(Op::cross_entropy, head, trial % 3 ? Attrs{{"soft_cap", 2.0}} : Attrs{}, true);
  }
  for (int op = 0; op <= int(Op::linear_qkv); ++op) {
    const GradientKind kind = gradient_of(Op(op)).kind;
    const bool by_route = Op(op) == Op::moe_route || Op(op) == Op::moe_gated || Op(op) == Op::moe_down;
    if (kind == GradientKind::rule || kind == GradientKind::parts)
      EXPECT_TRUE(t.seen.count(Op(op)) || by_route || Op(op) == Op::cast) << info(Op(op)).name << " has no case";
    else
      EXPECT_EQ(gradient_of(Op(op)).rule, nullptr);
  }
}

/// A cast rounds, to nearest even and beyond f16's range to infinity; a gradient passes as if it did not.
TEST(Gradient, PassesACast) {
  for (const char* to : {"bf16", "f16"}) {
    const auto loss = parse_graph(
        fmt::format("graph g {{\n  %0:f32[T,4] = weight {{name=\"x\"}}\n  %1:f32[T,4] = weight {{name=\"y\"}}\n"
                    "  %2:{0}[T,4] = cast(%0) {{to=\"{0}\"}}\n  %3:f32[T,4] = cast(%2) {{to=\"f32\"}}\n  %4:f32[T,4] = "
                    "mul(%3, %1)\n"
                    "  %5:f32[1] = constant {{value=1.0}}\n  %6:f32[1] = sum_to(%4, %5)\n  return %6\n}}\n",
                    to));
    ASSERT_TRUE(loss.ok()) << loss.status().message();
    GradientCase c{*loss, {}, {{"x", {1 + 0x1p-8, 1 + 3 * 0x1p-11, 70000, -0.5}}, {"y", {1, 2, 3, 4}}}, {1, 1}};
    const bool half = std::string_view(to) == "f16";
    const double far = half ? INFINITY : 70144;
    const auto out = gradients(c, {"x", "y"});
    ASSERT_EQ(out.size(), 3u);
    EXPECT_EQ(out[1].f, (std::vector<double>{1, 2, 3, 4}));
    EXPECT_EQ(out[2].f,
              half ? (std::vector<double>{1 + 0x1p-8, 1 + 0x1p-9, far, -0.5}) : (std::vector<double>{1, 1, far, -0.5}));
  }
}

/// The three ops of a mixture of experts as they stand together; gradients pass the weights of the chosen experts and
/// not the choice, which a small step does not change.
TEST(Gradient, MixtureOfExperts) {
  RandomStream random(92, Purpose::test);
  for (int trial = 0; trial < kTrials; ++trial) {
    const int64_t experts = 2 + random.below(4), k = 1 + random.below(uint32_t(experts)), n = 2 + random.below(3),
                  f = 1 + random.below(4);
    GradientCase c;
    c.sizes = {int64_t(1 + random.below(5)), 1};
    std::vector<std::string> names;
    const auto weight = [&](const char* name, std::vector<Dim> dims) {
      const Type type{kF32, std::move(dims)};
      for (int64_t i = elements(type, c.sizes); i > 0; --i) c.weights[name].push_back(double(random.normal()));
      names.emplace_back(name);
      return c.loss.source(Op::weight, type, {{"name", std::string(name)}});
    };
    Graph& g = c.loss;
    const ValueId x = weight("x", {kRows, Dim{n}}), router = weight("router", {Dim{experts}, Dim{n}});
    const ValueId route = g.add(Op::moe_route, {x, router}, {{"k", k}, {"normalise", int64_t(trial % 2)}});
    const ValueId gate = weight("gate", {Dim{experts}, Dim{f}, Dim{n}}),
                  up = weight("up", {Dim{experts}, Dim{f}, Dim{n}}),
                  down = weight("down", {Dim{experts}, Dim{n}, Dim{f}});
    const char* kind = trial % 3 == 0 ? "silu" : trial % 3 == 1 ? "gelu" : "gelu_tanh";
    const ValueId h = g.add(Op::moe_gated, {x, route, gate, up}, {{"k", k}, {"gate", std::string(kind)}});
    const ValueId y = g.add(Op::moe_down, {h, route, down}, {{"k", k}});
    const ValueId by = weight("by", {kRows, Dim{n}});
    const ValueId one = g.source(Op::constant, {kF32, {Dim{1}}}, {{"value", 1.0}});
    g.outputs = {g.add(Op::sum_to, {g.add(Op::mul, {y, by}), one})};
    ASSERT_TRUE(g.status().ok()) << g.status().message();
    SCOPED_TRACE(print(g));
    expect_gradients(c, names, 60, 1e-6, random);
  }
}

}  // namespace
}  // namespace vibee
