// SPDX-License-Identifier: Apache-2.0
// What the joint graph looks like: what is emitted, what is not, how nodes are marked, and what is refused.
#include "vibee/graph/autodiff/differentiate.h"

#include <gtest/gtest.h>

#include "vibee/graph/autodiff/gradient_rules.h"

namespace vibee {
namespace {

/// Two products and a loss; the first weight is read by both.
const std::string kTied =
    "graph g {\n"
    "  %0:i32[T] = input {name=\"tokens\"}\n"
    "  %1:i32[T] = input {name=\"targets\"}\n"
    "  %2:f32[T,1] = input {name=\"loss_weights\"}\n"
    "  %3:f32[9,4] = weight {name=\"embedding\"}\n"
    "  %4:f32[4,4] = weight {name=\"w\"}\n"
    "  %5:f32[T,4] = embed(%0, %3)\n"
    "  %6:f32[T,4] = linear(%5, %4)\n"
    "  %7:f32[T,4] = add(%5, %6)\n"
    "  %8:f32[1], %9:f32[T,1] = cross_entropy(%7, %3, %1, %2)\n";

Graph parse(const std::string& text) {
  auto g = parse_graph(text);
  EXPECT_TRUE(g.ok()) << g.status().message();
  return g.ok() ? std::move(*g) : Graph();
}
Result<Graph> joint(const Graph& g, std::vector<std::string> weights) { return differentiate(g, weights); }
std::string refusal(const std::string& text, std::vector<std::string> weights) {
  return joint(parse(text), std::move(weights)).status().message();
}

TEST(Differentiate, TheJointGraphAsText) {
  auto g = joint(parse(kTied + "  return %8\n}\n"), {"w", "embedding"});
  ASSERT_TRUE(g.ok()) << g.status().message();
  EXPECT_EQ(print(*g), kTied +
                           "  %10:f32[1] = constant {value=1.0}\n"
                           "  %11:f32[T,4] = cross_entropy_dx(%7, %3, %1, %2, %9, %10) {phase=\"I\"}\n"
                           "  %12:f32[9,4] = cross_entropy_dw(%7, %3, %1, %2, %9, %10) {phase=\"W\"}\n"
                           "  %13:f32[T,4] = linear_dx(%11, %4) {phase=\"I\"}\n"
                           "  %14:f32[4,4] = linear_dw(%11, %5) {phase=\"W\"}\n"
                           "  %15:f32[T,4] = add(%11, %13) {phase=\"I\"}\n"
                           "  %16:f32[9,4] = scatter(%0, %15, %3) {phase=\"W\"}\n"
                           "  %17:f32[9,4] = add(%12, %16) {phase=\"W\"}\n"
                           "  return %8, %14, %17\n}\n");
  auto again = parse_graph(print(*g));
  ASSERT_TRUE(again.ok()) << again.status().message();
  EXPECT_EQ(print(*again), print(*g));
}

TEST(Differentiate, FrozenWeightsCostNothing) {
  const Graph g = parse(kTied + "  return %8\n}\n");
  const auto w = joint(g, {"w"});
  ASSERT_TRUE(w.ok());
  EXPECT_EQ(print(*w), kTied +
                           "  %10:f32[1] = constant {value=1.0}\n"
                           "  %11:f32[T,4] = cross_entropy_dx(%7, %3, %1, %2, %9, %10) {phase=\"I\"}\n"
                           "  %12:f32[4,4] = linear_dw(%11, %5) {phase=\"W\"}\n"
                           "  return %8, %12\n}\n");
  EXPECT_EQ(trainable_weights(g), (std::vector<std::string>{"embedding", "w"}));
  // Frozen weights may be of any format, trained ones of floats.
  std::string frozen = kTied;
  frozen.replace(frozen.find("f32[4,4] = weight"), 17, "f16[4,4] = weight");
  EXPECT_TRUE(joint(parse(frozen + "  return %8\n}\n"), {"embedding"}).ok());
  const auto of_half = joint(parse(frozen + "  return %8\n}\n"), {"w"});
  ASSERT_TRUE(of_half.ok());
  EXPECT_EQ(of_half->type(of_half->outputs[1]), (Type{kF32, {Dim{4}, Dim{4}}}));
  EXPECT_NE(refusal("graph g {\n  %0:f32[T,32] = input {name=\"x\"}\n  %1:q8_0[1,32] = weight {name=\"w\"}\n"
                    "  %2:f32[T,1] = linear(%0, %1)\n  %3:f32[1] = constant {value=1.0}\n"
                    "  %4:f32[1] = sum_to(%2, %3)\n  return %4\n}\n",
                    {"w"})
                .find("weight \"w\" is q8_0[1,32]; gradients are towards weights of floats only"),
            std::string::npos);
}

TEST(Differentiate, SaysWhatItCannot) {
  const std::string whole = kTied + "  return %8\n}\n";
  EXPECT_NE(refusal(kTied + "  return %6\n}\n", {"w"}).find("one output is a loss f32[1]"), std::string::npos);
  EXPECT_NE(refusal(kTied + "  return %8, %6\n}\n", {"w"}).find("one output is a loss f32[1]"), std::string::npos);
  EXPECT_NE(refusal(whole, {"w", "v"}).find("the graph has no weight \"v\""), std::string::npos);
  EXPECT_NE(refusal(whole, {"w", "w"}).find("weight \"w\" is named twice"), std::string::npos);
  EXPECT_NE(
      refusal(kTied + "  %10:f32[1] = sum_to(%6, %8)\n  %11:f32[3,3] = weight {name=\"u\"}\n  return %10\n}\n", {"u"})
          .find("no gradient reaches weight \"u\""),
      std::string::npos);
  // The sums of the loss are for its own gradient.
  EXPECT_NE(refusal(kTied + "  %10:f32[1] = sum_to(%9, %8)\n  return %10\n}\n", {"w"})
                .find("gradients pass its first result only, %9 needs one"),
            std::string::npos);
  const std::string state =
      "graph g {\n  %0:state = state\n  %1:f32[T,8] = input {name=\"k\"}\n  %2:f32[8,8] = weight {name=\"w\"}\n"
      "  %3:f32[T,8] = linear(%1, %2)\n  %4:state = kv_append(%0, %1, %1) {layer=0}\n"
      "  %5:f32[T,8] = attention(%3, %4) {layer=0, heads=1, kv_heads=1, head_dim=8}\n"
      "  %6:f32[1] = constant {value=1.0}\n  %7:f32[1] = sum_to(%5, %6)\n  return %7\n}\n";
  EXPECT_NE(refusal(state, {"w"}).find("node 5 (attention): gradients do not pass a state"), std::string::npos)
      << refusal(state, {"w"});
}

/// Every refusal says why.
TEST(Differentiate, RefusalsHaveReasons) {
  for (int op = 0; op <= int(Op::linear_qkv); ++op) {
    const Gradient& g = gradient_of(Op(op));
    EXPECT_EQ(g.kind == GradientKind::refused, !g.why.empty()) << info(Op(op)).name;
    EXPECT_EQ(g.kind == GradientKind::rule, g.rule != nullptr) << info(Op(op)).name;
  }
}

}  // namespace
}  // namespace vibee
