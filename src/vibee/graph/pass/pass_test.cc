// SPDX-License-Identifier: Apache-2.0
// Each pass as text before and after, what it must leave alone, and the runner.
#include "vibee/graph/pass/pass.h"

#include <gtest/gtest.h>

#include "vibee/graph/ir/sample_decoder.h"

namespace vibee {
namespace {

Graph parse(const std::string& body) {
  auto g = parse_graph("graph g {\n" + body + "}\n");
  EXPECT_TRUE(g.ok()) << g.status().message() << "\n" << body;
  return g.ok() ? std::move(*g) : Graph();
}
void expect_becomes(Graph (*pass)(const Graph&), const std::string& before, const std::string& after) {
  const Graph got = drop_dead(pass(parse(before)));
  EXPECT_TRUE(verify(got).ok()) << verify(got).message();
  EXPECT_EQ(print(got), "graph g {\n" + after + "}\n");
}
void expect_stays(Graph (*pass)(const Graph&), const std::string& body) {
  expect_becomes(pass, body, print(parse(body)).substr(10, print(parse(body)).size() - 12));
}

const std::string kX = "  %0:f32[T,64] = input {name=\"x\"}\n";

TEST(FoldConstants, ExpressionsBecomeOneConstant) {
  expect_becomes(
      pass_fold_constants,
      kX + "  %1:f32[1] = constant {value=2.0}\n  %2:f32[1] = constant {value=3.0}\n  %3:f32[1] = mul(%1, %2)\n"
           "  %4:f32[T,64] = mul(%0, %3)\n  return %4\n",
      kX + "  %1:f32[1] = constant {value=6.0}\n  %2:f32[T,64] = mul(%0, %1)\n  return %2\n");
  expect_becomes(pass_fold_constants,
                 "  %0:f32[1,2] = constant {values=\"1 2\"}\n  %1:f32[2,1] = transpose(%0)\n  %2:f32[2,2] = mul(%0, "
                 "%1)\n  return %2\n",
                 "  %0:f32[2,2] = constant {values=\"1 2 2 4\"}\n  return %0\n");
  expect_stays(pass_fold_constants,
               kX + "  %1:f32[1] = constant {value=2.0}\n  %2:f32[T,64] = mul(%0, %1)\n  return %2\n");
  // A large result stays an expression.
  expect_stays(pass_fold_constants,
               "  %0:f32[1,128] = constant {value=2.0}\n  %1:f32[128,1] = constant {value=2.0}\n  %2:f32[128,128] = "
               "mul(%0, %1)\n  return %2\n");
}

TEST(QuantizeActivations, OneQuantisationForAllReaders) {
  const std::string weights = kX +
                              "  %1:q8_0[32,64] = weight {name=\"a\"}\n  %2:q4_0[32,64] = weight {name=\"b\"}\n  "
                              "%3:f32[32,64] = weight {name=\"c\"}\n";
  expect_becomes(
      pass_quantize_activations,
      weights +
          "  %4:f32[T,32] = linear(%0, %1)\n  %5:f32[T,32] = linear(%0, %2)\n  %6:f32[T,32] = linear(%0, %3)\n  return "
          "%4, %5, %6\n",
      weights +
          "  %4:act8[T,64] = quantize(%0)\n  %5:f32[T,32] = linear(%4, %1)\n  %6:f32[T,32] = linear(%4, %2)\n"
          "  %7:f32[T,32] = linear(%0, %3)\n  return %5, %6, %7\n");
}

TEST(MergeGated, TwoProductsAndTheGate) {
  const std::string weights = kX + "  %1:f32[32,64] = weight {name=\"gate\"}\n  %2:f32[32,64] = weight {name=\"up\"}\n";
  const std::string products =
      "  %3:f32[T,32] = linear(%0, %1)\n  %4:f32[T,32] = linear(%0, %2)\n  %5:f32[T,32] = gated(%3, %4) "
      "{gate=\"silu\"}\n";
  expect_becomes(pass_merge_gated, weights + products + "  return %5\n",
                 weights + "  %3:f32[T,32] = linear_gated(%0, %1, %2) {gate=\"silu\"}\n  return %3\n");
  expect_stays(pass_merge_gated, weights + products + "  return %5, %3\n");  // somebody else reads a product
  // Rows that nobody quantised, read by a float and an integer format.
  expect_stays(pass_merge_gated,
               kX + "  %1:q8_0[32,64] = weight {name=\"gate\"}\n  %2:f32[32,64] = weight {name=\"up\"}\n" + products +
                   "  return %5\n");
}

TEST(MergeResidual, TheSumIsTheEpilogue) {
  const std::string sources = kX + "  %1:f32[T,64] = input {name=\"r\"}\n  %2:f32[64,64] = weight {name=\"w\"}\n";
  for (const char* order : {"add(%1, %3)", "add(%3, %1)"})
    expect_becomes(pass_merge_residual,
                   sources + "  %3:f32[T,64] = linear(%0, %2)\n  %4:f32[T,64] = " + order + "\n  return %4\n",
                   sources + "  %3:f32[T,64] = linear_add(%0, %2, %1)\n  return %3\n");
  expect_stays(pass_merge_residual,
               sources + "  %3:f32[T,64] = linear(%0, %2)\n  %4:f32[T,64] = add(%1, %3)\n  return %4, %3\n");
  // A broadcast operand is no residual.
  expect_stays(pass_merge_residual,
               "  %0:f32[T,64] = input {name=\"x\"}\n  %1:f32[64] = weight {name=\"bias\"}\n  %2:f32[64,64] = weight "
               "{name=\"w\"}\n"
               "  %3:f32[T,64] = linear(%0, %2)\n  %4:f32[T,64] = add(%1, %3)\n  return %4\n");
}

TEST(MergeNorm, NormAndQuantisation) {
  const std::string sources = kX + "  %1:f32[64] = weight {name=\"w\"}\n";
  expect_becomes(
      pass_merge_norm,
      sources + "  %2:f32[T,64] = rms_norm(%0, %1) {eps=1e-05}\n  %3:act8[T,64] = quantize(%2)\n  return %3\n",
      sources + "  %2:act8[T,64] = norm_quantize(%0, %1) {eps=1e-05}\n  return %2\n");
  expect_stays(
      pass_merge_norm,
      sources + "  %2:f32[T,64] = rms_norm(%0, %1) {eps=1e-05}\n  %3:act8[T,64] = quantize(%2)\n  return %3, %2\n");
}

TEST(MergeOrder, OrderAndQuantisationAndANormBeforeThem) {
  const std::string order = kX + "  %1:f32[64] = weight {name=\"order\"}\n";
  const std::string sorted = "  %2:f32[T,64] = permute_columns(%0, %1)\n  %3:act8[T,64] = quantize(%2)\n";
  expect_becomes(pass_merge_order, order + sorted + "  return %3\n",
                 order + "  %2:act8[T,64] = quantize(%0, %1)\n  return %2\n");
  expect_stays(pass_merge_order, order + sorted + "  return %3, %2\n");
  const std::string sources = kX + "  %1:f32[64] = weight {name=\"w\"}\n  %2:f32[64] = weight {name=\"order\"}\n";
  expect_becomes(
      pass_merge_norm,
      sources + "  %3:f32[T,64] = rms_norm(%0, %1) {eps=1e-05}\n  %4:act8[T,64] = quantize(%3, %2)\n  return %4\n",
      sources + "  %3:act8[T,64] = norm_quantize(%0, %1, %2) {eps=1e-05}\n  return %3\n");
}

TEST(QuantizeOutputs, AttentionAndGatedProductsWriteCodes) {
  const std::string sources = kX + "  %1:state = state\n  %2:f32[32,64] = weight {name=\"w\"}\n";
  const std::string heads = "heads=2, kv_heads=2, head_dim=32";
  expect_becomes(
      pass_quantize_outputs,
      sources + "  %3:f32[T,64] = attention(%0, %1) {" + heads + "}\n  %4:act8[T,64] = quantize(%3)\n  return %4\n",
      "  %0:f32[T,64] = input {name=\"x\"}\n  %1:state = state\n  %2:act8[T,64] = attention(%0, %1) {" + heads +
          ", quantized=1}\n  return %2\n");
  expect_stays(pass_quantize_outputs,
               kX + "  %1:state = state\n  %2:f32[64] = weight {name=\"order\"}\n  %3:f32[T,64] = attention(%0, %1) {" +
                   heads + "}\n  %4:act8[T,64] = quantize(%3, %2)\n  return %4\n");
  expect_becomes(pass_quantize_outputs,
                 kX + "  %1:f32[32,64] = weight {name=\"w\"}\n  %2:f32[T,32] = linear_gated(%0, %1, %1) "
                      "{gate=\"silu\"}\n  %3:act8[T,32] = quantize(%2)\n  return %3\n",
                 kX + "  %1:f32[32,64] = weight {name=\"w\"}\n  %2:act8[T,32] = linear_gated(%0, %1, %1) "
                      "{gate=\"silu\", quantized=1}\n  return %2\n");
  // Heads that are no whole blocks.
  expect_stays(pass_quantize_outputs,
               kX + "  %1:state = state\n  %2:f32[T,64] = attention(%0, %1) {heads=4, kv_heads=2, head_dim=16}\n"
                    "  %3:act8[T,64] = quantize(%2)\n  return %3\n");
}

std::string qkv(const std::string& eps = "1e-05", const std::string& layer = "0") {
  return "  %0:f32[T,64] = input {name=\"x\"}\n  %1:f32[T,32] = input {name=\"table\"}\n  %2:state = state\n  "
         "%3:f32[64,64] = weight {name=\"q\"}\n"
         "  %4:f32[32,64] = weight {name=\"k\"}\n  %5:f32[32,64] = weight {name=\"v\"}\n  %6:f32[32] = weight "
         "{name=\"qn\"}\n  %7:f32[32] = weight {name=\"kn\"}\n"
         "  %8:f32[T,64] = linear(%0, %3)\n  %9:f32[T,64] = rms_norm(%8, %6) {eps=1e-05}\n  %10:f32[T,64] = rope(%9, "
         "%1) {head_dim=32, pairs=\"split\"}\n"
         "  %11:f32[T,32] = linear(%0, %4)\n  %12:f32[T,32] = rms_norm(%11, %7) {eps=" +
         eps +
         "}\n  %13:f32[T,32] = rope(%12, %1) {head_dim=32, pairs=\"split\"}\n"
         "  %14:f32[T,32] = linear(%0, %5)\n  %15:state = kv_append(%2, %13, %14) {layer=" +
         layer +
         "}\n"
         "  %16:f32[T,64] = attention(%10, %15) {layer=0, heads=2, kv_heads=1, head_dim=32}\n  return %16, %15\n";
}

TEST(MergeQkv, ProductsNormsRotationAndCacheWrite) {
  expect_becomes(
      pass_merge_qkv, qkv(),
      qkv().substr(0, qkv().find("  %8")) +
          "  %8:f32[T,64], %9:f32[T,32], %10:f32[T,32], %11:state = linear_qkv(%0, %3, %4, %5, %1, %2, %6, %7) "
          "{layer=0, heads=2, kv_heads=1, "
          "head_dim=32, pairs=\"split\", eps=1e-05}\n"
          "  %12:f32[T,64] = attention(%8, %11) {layer=0, heads=2, kv_heads=1, head_dim=32}\n  return %12, %11\n");
  expect_stays(pass_merge_qkv, qkv("1e-06"));       // one call has one eps
  expect_stays(pass_merge_qkv, qkv("1e-05", "1"));  // attention reads another layer
  // The query's weight is defined after the cache write.
  expect_stays(pass_merge_qkv,
               "  %0:f32[T,64] = input {name=\"x\"}\n  %1:f32[T,32] = input {name=\"table\"}\n  %2:state = state\n  "
               "%3:f32[32,64] = weight {name=\"k\"}\n"
               "  %4:f32[T,32] = linear(%0, %3)\n  %5:f32[T,32] = rope(%4, %1) {head_dim=32, pairs=\"split\"}\n  "
               "%6:f32[T,32] = linear(%0, %3)\n"
               "  %7:state = kv_append(%2, %5, %6) {layer=0}\n  %8:f32[64,64] = weight {name=\"q\"}\n  %9:f32[T,64] = "
               "linear(%0, %8)\n"
               "  %10:f32[T,64] = rope(%9, %1) {head_dim=32, pairs=\"split\"}\n"
               "  %11:f32[T,64] = attention(%10, %7) {layer=0, heads=2, kv_heads=1, head_dim=32}\n  return %11, %7\n");
}

TEST(RunPasses, ADecoderHasNoCompositesLeftToMerge) {
  SampleDecoder decoder;
  decoder.layers = 1;
  decoder.head_dim = 32;
  decoder.format = decoder.value_format = Format::q8_0;
  auto g = run_passes(sample_decoder(decoder));
  ASSERT_TRUE(g.ok());
  std::string ops;
  for (const Node& node : g->nodes)
    if (info(node.op).level != OpLevel::source) ops += std::string(info(node.op).name) + " ";
  EXPECT_EQ(ops,
            "rope_table embed norm_quantize linear_qkv attention linear_add norm_quantize linear_gated linear_add "
            "take_rows norm_quantize linear ");
}

TEST(RunPasses, UnknownIdListsTheKnownOnes) {
  const std::string bad = "merge_all";
  const Status status = run_passes(sample_decoder({}), {&bad, 1}).status();
  EXPECT_NE(status.message().find("--disable merge_all"), std::string::npos);
  for (const Pass& pass : all_passes()) EXPECT_NE(status.message().find(pass.id), std::string::npos);
}

}  // namespace
}  // namespace vibee
