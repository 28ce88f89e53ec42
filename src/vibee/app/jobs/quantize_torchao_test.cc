// SPDX-License-Identifier: Apache-2.0
// vibee quantize --scheme torchao:RECIPE on a tiny model, and what it writes loaded.
#include "vibee/app/jobs/quantize_torchao.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "vibee/app/jobs/quantize_scheme_fixture.h"
#include "vibee/kit/tensor_values.h"
#include "vibee/model/arch/arch.h"

namespace vibee {
namespace {

using testing::HasSubstr;

class QuantizeTorchao : public SchemeTest<quantize_torchao> {
 protected:
  QuantizeTorchao() : SchemeTest("torchao:intxwo", 64, 192) {}
};

TEST_F(QuantizeTorchao, DirectoriesLoadWithTheValuesThatWereMade) {
  const auto source = open_checkpoint(model_.path());
  ASSERT_TRUE(source.ok());
  const TensorInfo& t = *source->find("blk.1.ffn_up.weight");
  const std::vector<float> w = *tensor_values(*source, t.name);
  for (const std::string& scheme : torchao_recipes()) {
    c_.scheme = scheme;
    c_.target = folder_.path() + "/" + scheme;
    const TorchaoRecipe recipe = *find_torchao_recipe(std::string_view(scheme).substr(kTorchaoScheme.size()));
    const bool intx = recipe.of == TorchaoRecipe::Of::intx;
    c_.bits = intx ? 3 : 0;
    c_.asymmetric = intx;
    const auto done = quantize_torchao(c_, nullptr);
    ASSERT_TRUE(done.ok()) << done.status().message();
    EXPECT_EQ(done->report.matrices, 14u);
    EXPECT_TRUE(done->warnings.empty());
    expect_loads();
    const auto file = open_checkpoint(c_.target);
    ASSERT_TRUE(file.ok()) << file.status().message();
    EXPECT_EQ(file->find("output.weight")->format, Format::f16);
    const std::vector<float> values = *tensor_values(*file, t.name);
    const TorchaoMatrix m = torchao_quantize(w, t.row_length(), recipe, {3, 32, true}, t.format, nullptr);
    const uint64_t group = w.size() / m.scale.size();
    for (size_t i = 0; i < w.size(); ++i) {
      const float scale = m.scale[i / group];
      // Half a code, and what a scale in 16 bits moves the largest code by.
      const float off =
          recipe.of == TorchaoRecipe::Of::float8 ? std::fabs(w[i]) / 16 + scale / 512 : scale * (intx ? 1.0f : 0.6f);
      ASSERT_LE(std::fabs(values[i] - w[i]), off) << scheme << " " << i;
    }
  }
}

TEST_F(QuantizeTorchao, SaysWhatDoesNotGoTogether) {
  c_.scheme = "torchao:int3";
  EXPECT_THAT(message(), HasSubstr("one of int8wo, int8da_int8w, intxwo, int8da_intxw, float8wo"));
  c_.scheme = "torchao:int8wo";
  c_.bits = 4;
  EXPECT_THAT(message(), HasSubstr("--scheme torchao:int8wo takes --include and --exclude, not --bits"));
  c_.scheme = "torchao:intxwo";
  c_.group = -1;
  EXPECT_THAT(message(), HasSubstr("--group -1: of torchao 32, 64 or 128"));
  c_.group = 0;
  c_.bits = 8;
  c_.asymmetric = true;
  EXPECT_THAT(message(), HasSubstr("in groups of 64 or 128"));
  c_.group = 128;
  EXPECT_THAT(message(), HasSubstr("rows of 128 are nowhere"));
  EXPECT_FALSE(std::filesystem::exists(c_.target));
}

}  // namespace
}  // namespace vibee
