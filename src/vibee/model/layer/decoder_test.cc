// SPDX-License-Identifier: Apache-2.0
// The graphs of real architectures: their text reads back, no constant folding touches them, passes keep them legal.
#include "vibee/model/layer/decoder.h"

#include <gtest/gtest.h>

#include <cmath>

#include "vibee/graph/ir/decompose.h"
#include "vibee/graph/pass/pass.h"

namespace vibee {
namespace {

ModelConfig llama() {
  ModelConfig c;
  c.architecture = "llama";
  c.vocab = 512, c.dim = 576, c.layers = 3, c.heads = 9, c.kv_heads = 3, c.head_dim = 64, c.ff = 1536, c.context = 2048,
  c.rope_dims = 64;
  c.kinds = {{}};
  c.layer_kind.assign(c.layers, 0);
  c.tied = true;
  return c;
}

ModelConfig gemma() {
  ModelConfig c = llama();
  c.architecture = "gemma3";
  c.dim = 640, c.layers = 7, c.heads = 4, c.kv_heads = 1, c.head_dim = 256, c.ff = 2048, c.rope_dims = 256;
  c.split_halves = c.qk_norm = c.post_norms = true;
  c.activation = Gate::gelu_tanh;
  c.embed_scale = std::sqrt(640.0f);
  c.attention_cap = 50, c.logit_cap = 30;
  c.kinds = {{1e6, 8, 0}, {1e4, 1, 512}};
  c.layer_kind.clear();
  for (uint32_t i = 0; i < c.layers; ++i) c.layer_kind.push_back((i + 1) % 6 != 0);
  return c;
}

void expect_round_trip(const Graph& g) {
  const std::string text = print(g);
  auto parsed = parse_graph(text);
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  EXPECT_EQ(print(*parsed), text);
}

TEST(Decoder, GraphsReadBackAndPassesKeepThemLegal) {
  for (const ModelConfig& c : {llama(), gemma()})
    for (Format format : {Format::f32, Format::q8_0, Format::q4_k}) {
      if (format == Format::q4_k && c.dim % 256 != 0) continue;
      auto g = DecoderBuilder(c, [&](std::string_view) { return format; }).build();
      ASSERT_TRUE(g.ok()) << g.status().message();
      expect_round_trip(*g);
      EXPECT_EQ(print(drop_dead(*g)), print(*g)) << "a builder makes nothing that is not used";
      EXPECT_EQ(print(drop_dead(pass_fold_constants(*g))), print(*g));
      auto lowered = run_passes(*g);
      ASSERT_TRUE(lowered.ok()) << lowered.status().message();
      expect_round_trip(*lowered);
      EXPECT_NE(print(*lowered).find("linear_qkv"), std::string::npos);
      const Graph parts = decompose(*g);
      EXPECT_TRUE(verify(parts).ok()) << verify(parts).message();
    }
}

}  // namespace
}  // namespace vibee
