// SPDX-License-Identifier: Apache-2.0
#include "vibee/compress/quantize/qserve.h"

#include <gtest/gtest.h>

#include <cmath>

#include "vibee/kit/tiny_model.h"
#include "vibee/model/arch/arch.h"
#include "vibee/model/session/session.h"

namespace vibee {
namespace {

constexpr uint32_t kVocab = 48, kContext = 16;

Checkpoint open(const std::string& path) {
  auto file = open_checkpoint(path);
  VIBEE_CHECK(file.ok(), "{}", file.status().message());
  return std::move(*file);
}
ModelConfig config_of(const Checkpoint& file) {
  auto config = read_config(file);
  VIBEE_CHECK(config.ok(), "{}", config.status().message());
  return *config;
}
Checkpoint edited(const std::string& path, const SmoothAttention& by) {
  auto file = recast_checkpoint(open(path), {}, by.edit());
  VIBEE_CHECK(file.ok(), "{}", file.status().message());
  return std::move(*file);
}
std::vector<int32_t> ids(size_t n) {
  RandomStream random(3, Purpose::test);
  std::vector<int32_t> out(n);
  for (int32_t& id : out) id = int32_t(random.below(kVocab));
  return out;
}
std::vector<float> logits(Checkpoint file) {
  auto model = Model::load(std::move(file), {1, detected_isa(), {}, false});
  VIBEE_CHECK(model.ok(), "{}", model.status().message());
  auto session = Session::create(**model, {64, 1, 32, 32, KvFormat::f32});
  VIBEE_CHECK(session.ok(), "{}", session.status().message());
  SequenceState state = (*session)->new_sequence();
  const std::vector<int32_t> tokens = ids(32);
  const StepRows rows{&state, tokens, 32};
  auto out = (*session)->step({&rows, 1});
  VIBEE_CHECK(out.ok(), "{}", out.status().message());
  return {out->begin(), out->end()};
}

/// In each head a few channels of the keys that are much larger.
std::vector<std::vector<float>> with_outliers(const ModelConfig& c) {
  std::vector<std::vector<float>> out(c.layers, std::vector<float>(c.kv_heads * c.head_dim, 1));
  for (auto& layer : out)
    for (uint32_t h = 0; h < c.kv_heads; ++h) layer[h * c.head_dim + 3] = 64, layer[h * c.head_dim + 6] = 0.03f;
  return out;
}

class SmoothAttentionTest : public testing::TestWithParam<TinyModel> {};

TEST_P(SmoothAttentionTest, LeavesEveryBitOfTheLogits) {
  const TinyModelFile made(GetParam());
  const ModelConfig config = config_of(open(made.path()));
  const std::vector<float> plain = logits(open(made.path()));
  const SmoothAttention injected(config, with_outliers(config), -1);  // keys that large
  EXPECT_EQ(logits(edited(made.path(), injected)), plain);
  const auto measured = SmoothAttention::measure(open(made.path()), config, ids(20 * kContext), {.context = kContext});
  ASSERT_TRUE(measured.ok()) << measured.status().message();
  EXPECT_EQ(logits(edited(made.path(), *measured)), plain);
}

TEST_P(SmoothAttentionTest, PairsShareAPowerOfTwoThatLevelsThem) {
  const TinyModelFile made(GetParam());
  const ModelConfig config = config_of(open(made.path()));
  const Checkpoint injected = edited(made.path(), SmoothAttention(config, with_outliers(config), -1));
  const auto spread = [&](const Checkpoint& file) {  // of what is measured with alpha 1: the largest keys themselves
    const auto found = SmoothAttention::measure(file, config, ids(20 * kContext), {.context = kContext}, 1);
    VIBEE_CHECK(found.ok(), "{}", found.status().message());
    const std::vector<float>& l = found->lambdas()[0];
    return *std::max_element(l.begin(), l.end()) / *std::min_element(l.begin(), l.end());
  };
  const auto smooth = SmoothAttention::measure(injected, config, ids(20 * kContext), {.context = kContext}, 1);
  ASSERT_TRUE(smooth.ok());
  for (const auto& layer : smooth->lambdas())
    for (uint32_t i = 0; i < layer.size(); ++i) {
      int exponent;
      EXPECT_EQ(std::frexp(layer[i], &exponent), 0.5f);
      const uint32_t d = config.head_dim, in_head = i % d;
      const uint32_t pair = config.split_halves ? (in_head + d / 2) % d : in_head ^ 1;
      EXPECT_EQ(layer[i], layer[i - in_head + pair]) << i;
    }
  auto levelled =
      recast_checkpoint(edited(made.path(), SmoothAttention(config, with_outliers(config), -1)), {}, smooth->edit());
  ASSERT_TRUE(levelled.ok());
  EXPECT_GE(spread(injected), 16);
  EXPECT_LE(spread(*levelled), 2);  // powers of two next to 1
}

INSTANTIATE_TEST_SUITE_P(Models, SmoothAttentionTest,
                         testing::Values(TinyModel{.heads = 4, .kv_heads = 2}, TinyModel{.architecture = "gemma3"}));

TEST(SmoothAttention, RefusesAShortText) {
  const TinyModelFile made(TinyModel{});
  const Checkpoint file = open(made.path());
  EXPECT_NE(SmoothAttention::measure(file, config_of(file), ids(20), {.context = kContext})
                .status()
                .message()
                .find("use a longer text"),
            std::string::npos);
}

}  // namespace
}  // namespace vibee
