// SPDX-License-Identifier: Apache-2.0
// vibee quantize --scheme any on a tiny model, and its widths loaded one by one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "vibee/app/jobs/load.h"
#include "vibee/app/jobs/quantize_any.h"
#include "vibee/app/jobs/quantize_scheme_fixture.h"
#include "vibee/kit/tensor_values.h"
#include "vibee/model/arch/arch.h"

namespace vibee {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

double distance(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += (double(a[i]) - b[i]) * (double(a[i]) - b[i]);
  return sum;
}

class QuantizeAny : public SchemeTest<quantize_any> {
 protected:
  QuantizeAny() : SchemeTest("any", 64, 576) {}
};

TEST_F(QuantizeAny, OneDirectoryLoadsAtEveryWidthAndComesNearerWithEach) {
  for (const char* table : {"lut", "affine"}) {
    c_.table = table;
    c_.target = folder_.path() + "/" + table;
    const auto done = quantize_any(c_, nullptr);
    ASSERT_TRUE(done.ok()) << done.status().message();
    EXPECT_EQ(done->report.matrices, 14u);
    EXPECT_EQ(done->report.planes, done->report.elements);  // eight of a bit
    const auto source = open_checkpoint(model_.path());
    ASSERT_TRUE(source.ok());
    double before = INFINITY;
    for (uint32_t bits = 3; bits <= 8; ++bits) {
      const auto file = open_checkpoint(c_.target, bits);
      ASSERT_TRUE(file.ok()) << file.status().message();
      double off = 0;
      for (const char* name : {"blk.0.attn_q.weight", "blk.1.attn_k.weight", "blk.1.ffn_down.weight"})
        off += distance(*tensor_values(*source, name), *tensor_values(*file, name));
      EXPECT_LT(off, before) << table << " " << bits;
      before = off;
      EXPECT_EQ(*tensor_values(*source, "token_embd.weight"), *tensor_values(*file, "token_embd.weight"));
    }
    LoadConfig load_config;
    load_config.model = c_.target;
    load_config.bits = 4;
    load_config.threads = 1;
    const auto narrow = load(load_config);
    ASSERT_TRUE(narrow.ok()) << narrow.status().message();
    load_config.bits = 0;
    const auto wide = load(load_config);
    ASSERT_TRUE(wide.ok()) << wide.status().message();
    EXPECT_LT(narrow->plan.weights, wide->plan.weights);
    load_config.bits = 2;
    EXPECT_THAT(load(load_config).status().message(), HasSubstr("--bits 2: this model stores 3 to 8 bits"));
  }
}

TEST_F(QuantizeAny, ACalibrationTextWeighsErrors) {
  c_.table = "lut";
  std::string text;
  for (int i = 0; i < 400; ++i) text += std::string(1, char('a' + i * i % 26)) + (i % 3 ? "" : " ");
  c_.calibration = NamedText{"text", text};
  const auto done = quantize_any(c_, nullptr);
  ASSERT_TRUE(done.ok()) << done.status().message();
  EXPECT_TRUE(done->report.weighted);
  const std::string weighted = c_.target;
  c_.calibration.reset();
  c_.target = folder_.path() + "/plain";
  ASSERT_TRUE(quantize_any(c_, nullptr).ok());
  const auto source = open_checkpoint(model_.path()), a = open_checkpoint(weighted, 3),
             b = open_checkpoint(c_.target, 3);
  ASSERT_TRUE(source.ok() && a.ok() && b.ok());
  const std::vector<float> want = *tensor_values(*source, "blk.0.ffn_up.weight");
  // Weighing buys sensitive weights their values with those of the others.
  EXPECT_GT(distance(want, *tensor_values(*a, "blk.0.ffn_up.weight")),
            distance(want, *tensor_values(*b, "blk.0.ffn_up.weight")));
}

TEST_F(QuantizeAny, SaysWhatDoesNotGoTogether) {
  c_.solver = "gptq";
  EXPECT_THAT(message(), HasSubstr("--scheme any takes --seed-bits, --parent-bits, --table and --calib"));
  c_.solver = "search";
  c_.seed_bits = 6, c_.parent_bits = 5;
  EXPECT_EQ(message(), "widths of 6 to 5 bits; 3 to 8 are built");
  EXPECT_FALSE(fs::exists(c_.target));
  c_.seed_bits = 3;
  fs::create_directory(c_.target);
  EXPECT_THAT(message(), HasSubstr("is there already; name a new directory"));
  EXPECT_THAT(open_checkpoint(model_.path(), 4).status().message(), HasSubstr("stores one width"));
}

}  // namespace
}  // namespace vibee
