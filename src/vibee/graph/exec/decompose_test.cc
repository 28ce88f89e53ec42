// SPDX-License-Identifier: Apache-2.0
// A decomposed graph means what the composite means, up to roundings.
#include "vibee/graph/ir/decompose.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "vibee/graph/exec/sample.h"
#include "vibee/graph/ir/sample_decoder.h"
#include "vibee/graph/pass/pass.h"

namespace vibee {
namespace {

constexpr double kRounding = 0x1p-24;

bool has_op(const Graph& g, Op op) {
  for (const Node& node : g.nodes)
    if (node.op == op) return true;
  return false;
}

/// One composite over random inputs x and y [T, width], against its decomposition. `roundings`: how many roundings of
/// the largest intermediate the chain makes, given the largest input.
void compare(Op op, Attrs attrs, std::vector<ValueId> in, Graph g, int64_t rows, double allowed, RandomStream& random,
             double size) {
  const ValueId result = g.add(op, std::move(in), std::move(attrs));
  ASSERT_TRUE(g.status().ok()) << g.status().message();
  g.outputs = {result};
  const Graph parts = decompose(g);
  ASSERT_TRUE(verify(parts).ok()) << verify(parts).message();
  EXPECT_FALSE(has_op(parts, op)) << print(parts);
  for (const Node& node : parts.nodes) EXPECT_LE(int(info(node.op).level), int(OpLevel::primitive)) << print(parts);
  InterpretInputs inputs;
  FileWeights weights;
  for (const Node& node : g.nodes) {
    if (info(node.op).level != OpLevel::source) continue;
    const std::string name(node.text("name"));
    const Type& type = g.type(node.out[0]);
    const auto count = size_t(elements(type, {rows, 1}));
    if (type.elem == kI32) {
      for (size_t i = 0; i < count; ++i) inputs.integers[name].push_back(int32_t(random.below(5)));
      continue;
    }
    std::vector<float> x(count);
    for (float& v : x) v = float(std::fmin(std::fmax(random.normal(), -4), 4)) * float(size) / 4;
    if (name == "table")  // pairs of cosine and sine
      for (float& v : x) v = std::cos(v);
    if (node.op == Op::weight) {
      weights[name].resize(count * 4);
      std::memcpy(weights[name].data(), x.data(), count * 4);
    } else {
      inputs.floats[name] = x;
    }
  }
  auto want = interpret(g, inputs, weights, {rows, 1});
  auto got = interpret(parts, inputs, weights, {rows, 1});
  ASSERT_TRUE(want.ok() && got.ok()) << want.status().message() << got.status().message();
  EXPECT_EQ((*want)[0].dims, (*got)[0].dims);
  ASSERT_EQ((*want)[0].f.size(), (*got)[0].f.size());
  for (size_t i = 0; i < (*want)[0].f.size(); ++i)
    ASSERT_NEAR((*want)[0].f[i], (*got)[0].f[i], allowed * kRounding) << info(op).name << " at " << i << "\n"
                                                                      << print(parts);
}

TEST(Decompose, EveryComposite) {
  RandomStream random(61, Purpose::test);
  for (int trial = 0; trial < 30; ++trial) {
    const int64_t rows = 1 + random.below(6), n = 2 * (1 + random.below(9)), groups = 1 + random.below(3),
                  width = n * groups;
    const double size = 4;  // inputs lie in [-size, size]
    Graph g;
    const auto source = [&](Op op, const char* name, Type type) {
      return g.source(op, std::move(type), {{"name", std::string(name)}});
    };
    const ValueId x = source(Op::input, "x", {kF32, {kRows, Dim{width}}}),
                  y = source(Op::input, "y", {kF32, {kRows, Dim{width}}});
    const ValueId vec = source(Op::weight, "vec", {kF32, {Dim{n}}}),
                  w = source(Op::weight, "w", {kF32, {Dim{5}, Dim{width}}});
    const ValueId ids = source(Op::input, "ids", {kI32, {kRows}});
    const int64_t turned = 2 * (1 + random.below(uint32_t(n / 2)));
    const ValueId table = source(Op::input, "table", {kF32, {kRows, Dim{turned}}});
    // Sums equal to the last bit; a scale rounds once more.
    compare(Op::linear, {}, {x, w}, g, rows, 0, random, size);
    compare(Op::embed, {}, {ids, w}, g, rows, 0, random, size);
    compare(Op::embed, {{"scale", 3.5}}, {ids, w}, g, rows, 0, random, size);
    compare(Op::scale, {{"by", 0.3}}, {x}, g, rows, 2 * size * 0.3, random, size);  // 0.3 itself is rounded
    // Square, sum, mean, eps, root, quotient, product: 7 roundings, half of them under the root; |result| <= sqrt(n) *
    // size.
    compare(Op::rms_norm, {{"eps", 1e-5}}, {x, vec}, g, rows, 8 * std::sqrt(double(n)) * size, random, size);
    // The difference from the maximum (up to 2 size) is rounded before exp; then exp, sum, quotient, of results up
    // to 1.
    compare(Op::softmax, {}, {x}, g, rows, 2 * size * 2 + 4, random, size);
    // neg is exact; exp, sum, quotient, product of results up to size^2.
    compare(Op::gated, {{"gate", std::string("silu")}}, {x, y}, g, rows, 5 * size * size, random, size);
    // u has 7 roundings of up to 4 (|u| where tanh is not flat), tanh is no steeper than 1; 1 + tanh, halves, products:
    // 4 more.
    compare(Op::gated, {{"gate", std::string("gelu_tanh")}}, {x, y}, g, rows, (7 * 4 + 4) * size * size, random, size);
    compare(Op::soft_cap, {{"cap", 3.0}}, {x}, g, rows, 3 * size, random, size);
    // Two products and a sum, of parts up to size.
    for (const char* pairs : {"split", "adjacent"})
      compare(Op::rope, {{"head_dim", n}, {"pairs", std::string(pairs)}}, {x, table}, g, rows, 4 * size, random, size);
  }
}

TEST(Decompose, ADecoderKeepsItsMeaning) {
  RandomStream random(62, Purpose::test);
  for (int trial = 0; trial < 6; ++trial) {
    const SampleDecoder decoder = random_decoder(random, Format::f32);
    const Graph g = sample_decoder(decoder), parts = decompose(g);
    ASSERT_TRUE(verify(parts).ok());
    for (Op op : {Op::embed, Op::rms_norm, Op::gated, Op::linear, Op::rope, Op::soft_cap})
      EXPECT_FALSE(has_op(parts, op));
    for (Op op : {Op::attention, Op::kv_append, Op::rope_table, Op::take_rows}) EXPECT_TRUE(has_op(parts, op));
    auto weights = SampleWeights::make(g, Isa::scalar, 1);
    ASSERT_TRUE(weights.ok());
    InterpretInputs in;
    for (int32_t i = 0; i < 9; ++i) {
      in.integers["tokens"].push_back(int32_t(random.below(uint32_t(decoder.vocab))));
      in.integers["positions"].push_back(i);
    }
    const auto logits = [&](const Graph& graph, Noise noise) {
      auto out = interpret(graph, in, weights->files(), {9, 2}, noise);
      EXPECT_TRUE(out.ok()) << out.status().message();
      return out.ok() ? (*out)[0].f : std::vector<float>();
    };
    const auto farthest = [](const std::vector<float>& a, const std::vector<float>& b) {
      double most = 0;
      for (size_t i = 0; i < a.size(); ++i) most = std::max(most, std::fabs(double(a[i]) - b[i]));
      return most;
    };
    const auto want = logits(g, {}), got = logits(parts, {});
    ASSERT_EQ(want.size(), got.size());
    // No decomposition makes more than 16 roundings; the interpreter shows what 32 of them do to the logits.
    double allowed = 0;
    for (uint64_t seed = 1; seed <= 4; ++seed)
      allowed = std::max(allowed, 2 * farthest(want, logits(g, {32 * kRounding, seed})));
    EXPECT_LE(farthest(want, got), allowed);
    EXPECT_LT(allowed, 1e-3);
    // Constants are folded without a change of a bit.
    const Graph folded = drop_dead(pass_fold_constants(parts));
    ASSERT_TRUE(verify(folded).ok());
    const auto same = logits(folded, {});
    ASSERT_EQ(same.size(), got.size());
    EXPECT_EQ(0, std::memcmp(same.data(), got.data(), got.size() * 4));
  }
}

/// Folding an expression of constants gives the bits that evaluating it gives.
TEST(FoldConstants, GivesTheInterpretersBits) {
  RandomStream random(63, Purpose::test);
  for (int trial = 0; trial < 200; ++trial) {
    Graph g;
    for (int i = 0; i < 3; ++i) {
      std::vector<float> values(6);
      for (float& v : values) v = i == 0 ? 0.1f : random.normal();
      g.source(Op::constant, {kF32, {Dim{2}, Dim{3}}}, constant_attrs(values));
    }
    for (int n = 0; n < 20; ++n) {
      Node node{Op(uint32_t(Op::add) + random.below(uint32_t(Op::matmul) - uint32_t(Op::add) + 1)), {}, {}, {}};
      for (uint32_t i = info(node.op).fewest; i > 0; --i) node.in.push_back(random.below(uint32_t(g.values.size())));
      node.attrs = {{"begin", int64_t(0)}, {"end", int64_t(2)}, {"rows", int64_t(3)}, {"cols", int64_t(2)}};
      if (infer(g, node).ok()) g.add(node.op, node.in, node.attrs);
    }
    for (ValueId id = 3; id < g.values.size(); ++id) g.outputs.push_back(id);
    if (g.outputs.empty()) continue;
    auto parsed = parse_graph(print(drop_dead(pass_fold_constants(g))));  // the text keeps the bits, too
    ASSERT_TRUE(parsed.ok()) << parsed.status().message();
    for (const Node& node : parsed->nodes) EXPECT_EQ(node.op, Op::constant);
    auto want = interpret(g, {}, {}, {1, 1}), got = interpret(*parsed, {}, {}, {1, 1});
    ASSERT_TRUE(want.ok() && got.ok());
    for (size_t o = 0; o < want->size(); ++o)
      for (size_t i = 0; i < (*want)[o].f.size(); ++i) {
        const float a = (*want)[o].f[i], b = (*got)[o].f[i];
        EXPECT_TRUE(std::memcmp(&a, &b, 4) == 0 || (a != a && b != b)) << a << " " << b << "\n" << print(g);
      }
  }
}

}  // namespace
}  // namespace vibee
