// SPDX-License-Identifier: Apache-2.0
// Recipes against what llama-quantize of llama-cpp-python 0.3.36 chose for the same models.
#include "vibee/compress/quantize/recipe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace vibee {
namespace {

using testing::HasSubstr;

struct Case {
  ModelConfig model;
  RecipeUse use = {};
  Format format(std::string_view recipe, const std::string& name, uint64_t row = 1024) const {
    const TensorInfo tensor{name, Format::f16, {row, 8}, 0, 0};
    return recipe_format(*find_recipe(recipe), tensor, model, use);
  }
};

Case llama(uint32_t layers, uint32_t heads = 8, uint32_t kv_heads = 8) {
  Case c;
  c.model.layers = layers, c.model.heads = heads, c.model.kv_heads = kv_heads;
  return c;
}

TEST(Recipe, MoreBitsAreThoseOfQ4KM) {
  const Case c = llama(16);
  std::vector<int> layers;
  for (int i = 0; i < 16; ++i)
    if (c.format("q4_k_m", fmt::format("blk.{}.ffn_down.weight", i)) == Format::q6_k) layers.push_back(i);
  EXPECT_THAT(layers, testing::ElementsAre(0, 1, 4, 7, 10, 13, 14, 15));
  EXPECT_EQ(c.format("q4_k_m", "blk.4.attn_v.weight"), Format::q6_k);
  EXPECT_EQ(c.format("q4_k_m", "blk.4.attn_q.weight"), Format::q4_k);
  EXPECT_EQ(c.format("q4_k_m", "blk.5.attn_qkv.weight"), Format::q5_k);
  EXPECT_EQ(c.format("q5_k_m", "blk.4.attn_v.weight"), Format::q6_k);
  EXPECT_EQ(c.format("q5_k_m", "blk.5.attn_v.weight"), Format::q5_k);
}

TEST(Recipe, HeadAndEmbedding) {
  Case c = llama(4);
  EXPECT_EQ(c.format("q4_k_m", "output.weight"), Format::q6_k);
  EXPECT_EQ(c.format("q4_k_m", "token_embd.weight"), Format::q4_k);
  EXPECT_EQ(c.format("q8_0", "output.weight"), Format::q8_0);
  EXPECT_EQ(c.format("f16", "output.weight"), Format::f16);
  EXPECT_EQ(c.format("tq2_0", "token_embd.weight"), Format::q4_k);
  c.model.tied = true;
  EXPECT_EQ(c.format("q2_k", "token_embd.weight"), Format::q6_k);
  c.use.pure = true;
  EXPECT_EQ(c.format("q2_k", "token_embd.weight"), Format::q2_k);
}

TEST(Recipe, SmallMixes) {
  const Case plain = llama(32), grouped = llama(32, 32, 8);
  EXPECT_EQ(plain.format("q2_k", "blk.9.attn_v.weight"), Format::q3_k);
  EXPECT_EQ(grouped.format("q2_k", "blk.9.attn_v.weight"), Format::q4_k);
  EXPECT_EQ(plain.format("q2_k", "blk.9.ffn_down.weight"), Format::q3_k);
  EXPECT_EQ(plain.format("q2_k", "blk.9.ffn_up.weight"), Format::q2_k);
  EXPECT_EQ(plain.format("q3_k_m", "blk.1.attn_v.weight"), Format::q5_k);
  EXPECT_EQ(plain.format("q3_k_m", "blk.2.attn_v.weight"), Format::q4_k);
  EXPECT_EQ(plain.format("q3_k_m", "blk.1.ffn_down.weight"), Format::q5_k);
  EXPECT_EQ(plain.format("q3_k_m", "blk.2.ffn_down.weight"), Format::q4_k);
  EXPECT_EQ(plain.format("q3_k_s", "blk.2.ffn_down.weight"), Format::q3_k);
  EXPECT_EQ(plain.format("q3_k_l", "blk.2.attn_output.weight"), Format::q5_k);
  EXPECT_EQ(plain.format("q4_k_s", "blk.3.attn_v.weight"), Format::q5_k);
  EXPECT_EQ(plain.format("q4_k_s", "blk.4.attn_v.weight"), Format::q4_k);
  EXPECT_EQ(plain.format("q4_k_s", "blk.3.ffn_down.weight"), Format::q5_k);
  EXPECT_EQ(plain.format("q4_k_s", "blk.4.ffn_down.weight"), Format::q4_k);
  EXPECT_EQ(grouped.format("iq4_xs", "blk.9.attn_v.weight"), Format::q5_k);
  EXPECT_EQ(grouped.format("iq4_xs", "blk.3.ffn_down.weight"), Format::q5_k);
}

TEST(Recipe, ImportanceChangesTheFirstLayers) {
  Case c = llama(32);
  EXPECT_EQ(c.format("q4_0", "blk.0.ffn_down.weight"), Format::q4_0);
  EXPECT_EQ(c.format("iq4_nl", "blk.0.ffn_down.weight"), Format::q5_k);
  c.use.importance = true;
  EXPECT_EQ(c.format("q4_0", "blk.0.ffn_down.weight"), Format::q4_1);
  EXPECT_EQ(c.format("q5_0", "blk.0.ffn_down.weight"), Format::q5_1);
  EXPECT_EQ(c.format("iq4_nl", "blk.0.ffn_down.weight"), Format::iq4_nl);
}

TEST(Recipe, EightExperts) {
  Case c = llama(32, 32, 8);
  c.model.experts = 8;
  EXPECT_EQ(c.format("q4_k_m", "blk.9.attn_k.weight"), Format::q8_0);
  EXPECT_EQ(c.format("q2_k", "blk.9.attn_v.weight"), Format::q8_0);
  EXPECT_EQ(c.format("q4_k_m", "blk.9.attn_output.weight"), Format::q5_k);
  EXPECT_EQ(c.format("q3_k_l", "blk.9.attn_output.weight"), Format::q3_k);
  EXPECT_EQ(c.format("q4_k_m", "blk.0.ffn_down_exps.weight"), Format::q6_k);
  EXPECT_EQ(c.format("f16", "blk.9.attn_k.weight"), Format::f16);
}

TEST(Recipe, UnknownOnesListThose) {
  const auto bad = find_recipe("q4_k_x");
  ASSERT_FALSE(bad.ok());
  EXPECT_THAT(bad.status().message(), HasSubstr("unknown recipe \"q4_k_x\"; known: q2_k q3_k_s q3_k_m"));
  EXPECT_THAT(bad.status().message(), HasSubstr(" nvfp4"));
}

TEST(Recipe, RowsThatDoNotDivideTakeWhatFits) {
  const std::pair<Format, Format> rows[] = {{Format::q2_k, Format::q4_0},  {Format::q3_k, Format::q4_0},
                                            {Format::q4_k, Format::q5_0},  {Format::q5_k, Format::q5_1},
                                            {Format::q6_k, Format::q8_0},  {Format::tq1_0, Format::q4_0},
                                            {Format::tq2_0, Format::q4_0}, {Format::iq4_xs, Format::iq4_nl},
                                            {Format::q4_0, Format::q4_0},  {Format::mxfp4, Format::mxfp4}};
  for (const auto& [wanted, fits] : rows) {
    EXPECT_EQ(fitting(wanted, 512), wanted);
    EXPECT_EQ(fitting(wanted, 576), fits) << info(wanted).name;
    EXPECT_EQ(fitting(wanted, 48), Format::f16) << info(wanted).name;
  }
  EXPECT_EQ(fitting(Format::nvfp4, 576), Format::nvfp4);
  EXPECT_EQ(fitting(Format::nvfp4, 96), Format::mxfp4);
  EXPECT_EQ(fitting(Format::bf16, 7), Format::bf16);
}

}  // namespace
}  // namespace vibee
