// SPDX-License-Identifier: Apache-2.0
// Costs of a small graph counted by hand.
#include "vibee/graph/cost/cost.h"

#include <gtest/gtest.h>

#include <cmath>

namespace vibee {
namespace {

Graph parse(const std::string& text) {
  auto g = parse_graph(text);
  EXPECT_TRUE(g.ok()) << g.status().message();
  return std::move(*g);
}

TEST(Cost, ASmallGraphByHand) {
  const Graph g = parse(
      "graph g {\n  %0:i32[T] = input {name=\"tokens\"}\n  %1:q8_0[100,64] = weight {name=\"e\"}\n  %2:f32[T,64] = "
      "embed(%0, %1)\n"
      "  %3:f32[64] = weight {name=\"n\"}\n  %4:f32[T,64] = rms_norm(%2, %3) {eps=1e-05}\n  %5:f32[32,64] = weight "
      "{name=\"w\"}\n"
      "  %6:f32[T,32] = linear(%4, %5)\n  %7:f32[S,32] = take_rows(%6)\n  return %7\n}");
  const auto cost = [&](ValueId id) { return node_cost(g, g.producer(id), {3, 2}, {}); };
  // embed: three rows of two blocks of 34 bytes; ids in, floats out.
  EXPECT_EQ(cost(2).weight_bytes, 3 * 2 * 34);
  EXPECT_EQ(cost(2).row_bytes, 3 * 4 + 3 * 64 * 4);
  EXPECT_EQ(cost(2).flops, 3 * 64);
  EXPECT_EQ(cost(4).weight_bytes, 64 * 4);
  EXPECT_EQ(cost(4).row_bytes, 2 * 3 * 64 * 4);
  EXPECT_EQ(cost(6).flops, 2 * 3 * 32 * 64);
  EXPECT_EQ(cost(6).weight_bytes, 32 * 64 * 4);
  EXPECT_EQ(cost(6).row_bytes, 3 * (64 + 32) * 4);
  EXPECT_EQ(cost(7).row_bytes, (3 + 2) * 32 * 4);
  const StepCost sum = step_cost(g, {3, 2}, {});
  EXPECT_EQ(sum.flops, 3 * 64 + 3 * 64 + 2 * 3 * 32 * 64 + 2 * 32);
  EXPECT_EQ(sum.weight_bytes, 3 * 2 * 34 + 64 * 4 + 32 * 64 * 4);
  EXPECT_EQ(sum.kv_bytes, 0);
}

TEST(Cost, AttentionReadsTheVisibleKeys) {
  const auto cost = [](const std::string& window) {
    const Graph g = parse(
        "graph g {\n  %0:f32[T,64] = input {name=\"q\"}\n  %1:state = state\n  %2:f32[T,64] = attention(%0, %1) "
        "{heads=4, kv_heads=2, head_dim=16" +
        window + "}\n  return %2\n}");
    return node_cost(g, g.nodes[2], {3, 1}, {100, KvFormat::f16});
  };
  EXPECT_EQ(cost("").flops, 4.0 * 3 * 4 * 100 * 16);         // two a multiply-add, scores and values
  EXPECT_EQ(cost("").kv_bytes, 3.0 * 100 * 2 * 2 * 16 * 2);  // keys and values of two heads in halves
  EXPECT_EQ(cost(", window=10").kv_bytes, 3.0 * 10 * 2 * 2 * 16 * 2);
}

TEST(Cost, AProductWithAWeightIsCountedOnce) {
  const Graph g = parse(
      "graph g {\n  %0:f32[T,8] = input\n  %1:f32[8,4] = weight {name=\"w\"}\n  %2:f32[T,4] = matmul(%0, %1)\n"
      "  %3:f32[4] = weight {name=\"b\"}\n  %4:f32[T,4] = add(%2, %3)\n  return %4\n}");
  EXPECT_EQ(node_cost(g, g.nodes[2], {3, 1}, {}).flops, 2 * 3 * 8 * 4);
  EXPECT_EQ(node_cost(g, g.nodes[4], {3, 1}, {}).flops, 3 * 4);
}

/// Both gradients of a product cost what it costs; those of attention 2.5 times, those of the loss twice each.
TEST(Cost, GradientsByHand) {
  const Graph g = parse(
      "graph g {\n  %0:f32[T,64] = input {name=\"x\"}\n  %1:f32[32,64] = weight {name=\"w\"}\n  %2:i32[T] = input "
      "{name=\"ids\"}\n  %3:f32[T,1] = input {name=\"c\"}\n  %4:f32[1] = input {name=\"g\"}\n"
      "  %5:f32[T,32] = linear(%0, %1)\n  %6:f32[T,64] = linear_dx(%5, %1)\n  %7:f32[32,64] = linear_dw(%5, %0)\n"
      "  %8:f32[1], %9:f32[T,1] = cross_entropy(%0, %1, %2, %3)\n"
      "  %10:f32[T,64] = cross_entropy_dx(%0, %1, %2, %3, %9, %4)\n"
      "  %11:f32[32,64] = cross_entropy_dw(%0, %1, %2, %3, %9, %4)\n"
      "  %12:f32[T,64], %13:f32[T,4] = self_attention(%0, %0, %0, %2) {heads=4, kv_heads=4, head_dim=16}\n"
      "  %14:f32[T,64], %15:f32[T,64], %16:f32[T,64] = self_attention_dx(%0, %0, %0, %2, %12, %13, %0) {heads=4, "
      "kv_heads=4, head_dim=16}\n  return %8\n}");
  const auto flops = [&](ValueId id) { return node_cost(g, g.producer(id), {3, 0}, {100, KvFormat::f32}).flops; };
  for (ValueId id : {5, 6, 7, 8}) EXPECT_EQ(flops(id), 2 * 3 * 32 * 64) << id;
  for (ValueId id : {10, 11}) EXPECT_EQ(flops(id), 4 * 3 * 32 * 64) << id;
  EXPECT_EQ(flops(12), 4.0 * 3 * 4 * 100 * 16);
  EXPECT_EQ(flops(14), 10.0 * 3 * 4 * 100 * 16);
}

/// Every op has a cost: finite, and some bytes or operations unless it is a source.
TEST(Cost, IsDefinedForEveryOp) {
  Graph g;
  const auto source = [&](Op op, Type type) { return g.source(op, std::move(type), {}); };
  const ValueId x = source(Op::input, {kF32, {kRows, Dim{32}}}), ids = source(Op::input, {kI32, {kRows}}),
                s = source(Op::state, {kState, {}});
  const ValueId act = source(Op::input, {kAct8, {kRows, Dim{32}}}), w = source(Op::weight, {kF32, {Dim{32}, Dim{32}}});
  const ValueId q = source(Op::weight, {{Elem::stored, Format::q8_0}, {Dim{32}, Dim{32}}}),
                vec = source(Op::weight, {kF32, {Dim{32}}});
  source(Op::constant, {kF32, {Dim{1}}});
  const ValueId route = source(Op::input, {kF32, {kRows, Dim{4}}}),
                chosen = source(Op::input, {kF32, {kRows, Dim{64}}}),
                experts = source(Op::weight, {kF32, {Dim{4}, Dim{32}, Dim{32}}});
  const ValueId column = source(Op::input, {kF32, {kRows, Dim{1}}}), one = source(Op::input, {kF32, {Dim{1}}});
  const ValueId packed = source(Op::input, {{Elem::compressed, Format::f32, 4}, {kRows, Dim{32}}});
  const Attrs attrs = {{"heads", int64_t(1)},
                       {"kv_heads", int64_t(1)},
                       {"head_dim", int64_t(32)},
                       {"begin", int64_t(0)},
                       {"end", int64_t(8)},
                       {"rows", int64_t(2)},
                       {"cols", int64_t(16)},
                       {"gate", std::string("silu")},
                       {"dims", int64_t(32)},
                       {"base", 1e4},
                       {"cap", 3.0},
                       {"kind", std::string("gelu")},
                       {"k", int64_t(2)},
                       {"target", int64_t(0)},
                       {"rank", int64_t(32)}};
  for (uint32_t i = 0; i <= uint32_t(Op::linear_qkv); ++i) {
    const Op op = Op(i);
    if (info(op).level == OpLevel::source) continue;
    std::vector<ValueId> in(info(op).fewest, x);
    if (op == Op::rope_table) in = {ids};
    if (op == Op::gather || op == Op::embed) in = {ids, w};
    if (op == Op::layer_norm) in = {x, vec, vec};
    if (op == Op::moe_route) in = {x, w};
    if (op == Op::moe_gated) in = {x, route, experts, experts};
    if (op == Op::moe_down) in = {chosen, route, experts};
    if (op == Op::rms_norm || op == Op::norm_quantize || op == Op::permute_columns) in = {x, vec};
    if (op == Op::matmul || op == Op::linear) in = {x, w};
    if (op == Op::linear_add) in = {x, w, x};
    if (op == Op::linear_lora) in = {x, w, x};
    if (op == Op::linear_gated) in = {act, q, q};
    if (op == Op::kv_append) in = {s, x, x};
    if (op == Op::attention) in = {x, s};
    if (op == Op::linear_qkv) in = {act, q, q, q, x, s};
    if (op == Op::scatter) in = {ids, x, w};
    if (op == Op::self_attention) in = {x, x, x, ids};
    if (op == Op::self_attention_dx) in = {x, x, x, ids, x, column, x};
    if (op == Op::cross_entropy) in = {x, w, ids, column};
    if (op == Op::cross_entropy_dx || op == Op::cross_entropy_dw) in = {x, w, ids, column, column, one};
    if (op == Op::rms_norm_dx || op == Op::rms_norm_dw || op == Op::layer_norm_dx || op == Op::layer_norm_dw)
      in = {x, vec, x};
    if (op == Op::linear_dx) in = {x, w};
    if (op == Op::moe_route_dx) in = {route, route, route};
    if (op == Op::moe_gated_dx || op == Op::moe_gated_dw) in = {x, route, experts, experts, chosen};
    if (op == Op::moe_down_dx || op == Op::moe_down_dw) in = {chosen, route, experts, x};
    Attrs own = attrs;
    for (auto& [key, value] : own)
      if (op == Op::pool_rows && key == "kind") value = std::string("mean");
    if (op == Op::cast) own = {{"to", std::string("bf16")}};
    if (op == Op::compress) own = {{"bits", int64_t(4)}, {"array", int64_t(0)}};
    if (op == Op::decompress) in = {packed};
    g.add(op, in, own);
    ASSERT_TRUE(g.status().ok()) << g.status().message();
    const StepCost c = node_cost(g, g.nodes.back(), {3, 2}, {7, KvFormat::f32});
    for (double v : {c.flops, c.weight_bytes, c.kv_bytes, c.row_bytes})
      EXPECT_TRUE(std::isfinite(v) && v >= 0) << info(op).name;
    EXPECT_GT(c.row_bytes, 0) << info(op).name;
    EXPECT_TRUE(c.flops > 0 || op == Op::kv_append) << info(op).name;
  }
  for (const Node& node : g.nodes)
    if (info(node.op).level == OpLevel::source) {
      EXPECT_EQ(node_cost(g, node, {3, 2}, {}).row_bytes, 0);
    }
}

}  // namespace
}  // namespace vibee
