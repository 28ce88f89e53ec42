// SPDX-License-Identifier: Apache-2.0
// Against torchao itself (tools/make_torchao_goldens.py).
#include "vibee/compress/quantize/torchao_recipe.h"

#include <gtest/gtest.h>

#include <cmath>

#include "vibee/compress/quantize/linear_writer.h"
#include "vibee/kit/golden_tensors.h"

namespace vibee {
namespace {

class Torchao : public testing::Test {
 protected:
  Torchao() : golden_("torchao_codes.safetensors") {}
  void SetUp() override { ASSERT_EQ(golden_.cases().size(), 9u); }
  void compare(const GoldenTensors::Case& c, const std::string& how, const TorchaoRecipe& recipe,
               const TorchaoCodes& codes) {
    Team team(3);
    const std::string at = c.name + "." + how;
    for (Team* by : {static_cast<Team*>(nullptr), &team}) {
      const TorchaoMatrix made = torchao_quantize(c.base, c.k, recipe, codes, c.format, by);
      EXPECT_EQ(made.codes, golden_.bytes(at + ".qdata")) << at;
      EXPECT_EQ(made.scale, golden_.floats(at + ".scale")) << at;
      if (recipe.of == TorchaoRecipe::Of::float8) {
        EXPECT_TRUE(made.zero.empty());
      } else {
        EXPECT_EQ(std::vector<uint8_t>(made.zero.begin(), made.zero.end()), golden_.bytes(at + ".zero")) << at;
      }
    }
  }
  GoldenTensors golden_;
};

TEST_F(Torchao, CodesScalesAndZeroPointsAreThePackages) {
  for (const GoldenTensors::Case& c : golden_.cases()) {
    for (const char* name : {"int8wo", "float8wo"}) compare(c, name, *find_torchao_recipe(name), {});
    for (const uint32_t bits : {1u, 2u, 3u, 4u, 8u})
      for (const uint64_t group : {32u, 64u})
        for (const bool asymmetric : {false, true})
          compare(c, fmt::format("int{}.{}{}", bits, group, asymmetric ? ".zero" : ""), *find_torchao_recipe("intxwo"),
                  {bits, group, asymmetric});
  }
}

TEST(TorchaoRows, OfZerosStayFinite) {
  const std::vector<float> zeros(128);
  for (const std::string& scheme : torchao_recipes())
    for (const Format format : {Format::f32, Format::f16, Format::bf16}) {
      const TorchaoRecipe recipe = *find_torchao_recipe(std::string_view(scheme).substr(8));
      const TorchaoMatrix m = torchao_quantize(zeros, 64, recipe, {.bits = 4, .group = 32}, format, nullptr);
      for (const float s : m.scale) EXPECT_TRUE(std::isfinite(s));
      for (const uint8_t code : m.codes) EXPECT_EQ(code, 0) << scheme;
    }
  EXPECT_FALSE(find_torchao_recipe("int4").ok());
}

}  // namespace
}  // namespace vibee
