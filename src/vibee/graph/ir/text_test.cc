// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "vibee/graph/ir/decompose.h"
#include "vibee/graph/ir/sample_decoder.h"

namespace vibee {
namespace {

void expect_round_trip(const Graph& g) {
  const std::string text = print(g);
  auto parsed = parse_graph(text);
  ASSERT_TRUE(parsed.ok()) << parsed.status().message() << "\n" << text;
  EXPECT_EQ(print(*parsed), text);
  EXPECT_EQ(parsed->nodes.size(), g.nodes.size());
}

TEST(Text, DecodersReadBackAsPrinted) {
  RandomStream random(31, Purpose::test);
  for (int trial = 0; trial < 30; ++trial) {
    const Graph g = sample_decoder(random_decoder(random, trial % 2 ? Format::f32 : Format::q4_0));
    expect_round_trip(g);
    expect_round_trip(decompose(g));
  }
}

/// Random nodes over random values; those that the rules refuse are left out.
TEST(Text, RandomGraphsReadBackAsPrinted) {
  RandomStream random(32, Purpose::test);
  for (int trial = 0; trial < 200; ++trial) {
    Graph g;
    g.name = fmt::format("g{}", trial);
    for (uint32_t i = 1 + random.below(4); i > 0; --i)
      g.source(Op::input,
               {kF32, {random.below(2) ? kRows : Dim{int64_t(1 + random.below(4))}, Dim{int64_t(1 + random.below(3))}}},
               {});
    for (int n = 0; n < 60; ++n) {
      Node node{Op(random.below(uint32_t(Op::linear_qkv) + 1)), {}, {}, {}};
      for (uint32_t i = info(node.op).fewest; i > 0; --i) node.in.push_back(random.below(uint32_t(g.values.size())));
      const double odd[] = {0.1, -1e300, 5e-324, 1.0, std::numeric_limits<double>::infinity(), 1.0 / 3, 1e22};
      node.attrs = {{"eps", odd[random.below(7)]},
                    {"begin", int64_t(0)},
                    {"end", int64_t(1)},
                    {"rows", int64_t(1 + random.below(4))},
                    {"cols", int64_t(1 + random.below(4))},
                    {"note", std::string("a \"quoted\\ line\nand a tab\t")}};
      if (infer(g, node).ok()) g.add(node.op, node.in, node.attrs);
    }
    ASSERT_TRUE(g.status().ok());
    g.outputs = {ValueId(g.values.size() - 1), 0};
    expect_round_trip(g);
  }
}

TEST(Text, NumbersKeepTheirKindAndBits) {
  Graph g;
  g.outputs = {g.source(Op::input, {kF32, {Dim{1}}},
                        {{"a", 2.0}, {"b", int64_t(2)}, {"c", -0.0}, {"d", 0.1}, {"e", INT64_MIN}})};
  auto parsed = parse_graph(print(g));
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  EXPECT_EQ(parsed->nodes[0].attrs, g.nodes[0].attrs);
  EXPECT_TRUE(std::signbit(parsed->nodes[0].number("c")));
}

TEST(Text, HostileTextsAreRefusedInOneLine) {
  const std::string head = "graph g {\n  %0:f32[T,8] = input\n";
  const struct {
    std::string text, words;
    int line;
  } cases[] = {
      {"", "expected 'graph'", 1},
      {"graf g {", "expected 'graph'", 1},
      {"graph {", "expected a name", 1},
      {"graph g\n{", "expected '%'", 2},
      {head + "  return %1\n}", "%1 is not defined", 3},
      {head + "  return %0\n} x", "text after the graph's end", 4},
      {head + "  %2:f32[T,8] = exp(%0)\n", "expected %1", 3},
      {head + "  %1:f32[T,9] = exp(%0)\n", "declared f32[T,9], inferred f32[T,8]", 3},
      {head + "  %1:f32[T,8] = expo(%0)\n", "unknown op 'expo'", 3},
      {head + "  %1:f33[T,8] = exp(%0)\n", "unknown element type 'f33'", 3},
      {head + "  %1:f32[0] = input\n", "size 0 out of range", 3},
      {head + "  %1:f32[99999999999999999999] = input\n", "expected a whole number", 3},
      {head + "  %1:f32[1048577] = input\n", "out of range", 3},
      {head + "  %1:f32[T*-1] = input\n", "out of range", 3},
      {head + "  %1:f32[1,1,1,1] = input\n", "more than three", 3},
      {head + "  %1:f32[1048576,1048576,2] = input\n", "elements", 3},
      {head + "  %1:q8_0[4,33] = weight\n", "whole blocks of 32", 3},
      {head + "  %1:act8[T,33] = input\n", "multiples of 32", 3},
      {head + "  %1:f32[T,8] = exp(%9)\n", "no value %9", 3},
      {head + "  %1:f32[T,8] = exp(%-1)\n", "out of range", 3},
      {head + "  %1:f32[T,8] = exp(%0, %0)\n", "takes 1 to 1 inputs, received 2", 3},
      {head + "  %1:f32[T,8] = add(%0,%0,%0,%0,%0,%0,%0,%0,%0)\n", "more than eight inputs", 3},
      {head + "  %1:f32[T,8], %2:f32[T,8] = exp(%0)\n", "has 1 outputs", 3},
      {head + "  %1:f32[T,8] = input(%0)\n", "a source has one output", 3},
      {head + "  %1:f32[T,8] = exp(%0) {a=}\n", "expected a number or a string", 3},
      {head + "  %1:f32[T,8] = exp(%0) {a=1x}\n", "expected a number or a string", 3},
      {head + "  %1:f32[T,8] = exp(%0) {a=\"b\n", "expected '\"'", 4},
      {head + "  %1:f32[T,8] = state\n  return %0\n}", "cannot be f32[T,8]", 3},
      {head + "  %1:f32[2] = constant\n  return %1\n}", "needs either value", 3},
      {head +
           "  %1:state = state\n  %2:state = kv_append(%1, %0, %0)\n  %3:state = kv_append(%1, %0, %0)\n  return %3\n}",
       "already replaced", 5},
  };
  for (const auto& c : cases) {
    auto g = parse_graph(c.text);
    ASSERT_FALSE(g.ok()) << c.text;
    const std::string& message = g.status().message();
    EXPECT_NE(message.find(c.words), std::string::npos) << message << "\n" << c.text;
    EXPECT_EQ(message.find(fmt::format("graph text, line {}, column ", c.line)), 0u) << message << "\n" << c.text;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  }
  // Every beginning of a good text is refused, too.
  const std::string good = print(sample_decoder({.layers = 1}));
  for (size_t n = 0; n + 2 < good.size(); n += 7) EXPECT_FALSE(parse_graph(good.substr(0, n)).ok()) << n;
}

}  // namespace
}  // namespace vibee
