// SPDX-License-Identifier: Apache-2.0
#include "vibee/compress/quantize/allocate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "vibee/base/random/philox.h"
#include "vibee/kit/tiny_model.h"
#include "vibee/model/arch/arch.h"

namespace vibee {
namespace {

using testing::HasSubstr;

ErrorOptions errors_of(std::vector<Format> formats) {
  ErrorOptions options;
  options.formats = std::move(formats);
  return options;
}

class Allocate : public testing::Test {
 protected:
  Allocate() : made_({.format = Format::f16, .dim = 256, .layers = 2, .head_dim = 128, .ff = 96}), file_(open()) {}
  Checkpoint open() const {
    auto file = open_checkpoint(made_.path());
    VIBEE_CHECK(file.ok(), "{}", file.status().message());
    return std::move(*file);
  }
  std::vector<MatrixChoices> measured() {
    auto m = measure_errors(file_, errors_of({Format::q2_k, Format::q4_k, Format::q4_0, Format::q6_k, Format::q8_0}));
    VIBEE_CHECK(m.ok(), "{}", m.status().message());
    RandomStream random(1, Purpose::test);
    for (MatrixChoices& c : *m) c.kl = 1e-4 * double(1 + random.below(100));
    return std::move(*m);
  }
  TinyModelFile made_;
  Checkpoint file_;
};

TEST_F(Allocate, KnowsEveryMatrixInTheFormatsThatDivideIt) {
  const std::vector<MatrixChoices> all = measured();
  uint64_t matrices = 0;
  for (const TensorInfo& t : file_.tensors()) matrices += t.shape.size() > 1;
  EXPECT_EQ(all.size(), matrices);
  for (const MatrixChoices& m : all) {
    const bool rows_of_96 = m.tensor.find("ffn_down") != m.tensor.npos;
    EXPECT_EQ(m.choices.size(), rows_of_96 ? 2u : 5u) << m.tensor;
    for (size_t i = 0; i < m.choices.size(); ++i) {
      EXPECT_GT(m.errors[i], 0) << m.tensor;
      EXPECT_LT(m.errors[i], 0.2) << m.tensor;
    }
    EXPECT_DOUBLE_EQ(m.damage(m.probe()), *m.kl);
    EXPECT_LT(m.damage(m.choices.size() - 1), m.damage(0)) << "eight bits are worth more than the fewest";
  }
}

TEST_F(Allocate, NeverAboveTheBudgetAndNoWorseWithMore) {
  const std::vector<MatrixChoices> all = measured();
  const auto in = [&](Format small, Format other) {
    return file_bytes(file_, file_.metadata(), [&](const TensorInfo& t) {
      return t.shape.size() < 2 ? t.format : t.row_length() % 256 == 0 ? small : other;
    });
  };
  const uint64_t least = in(Format::q2_k, Format::q4_0), most = in(Format::q8_0, Format::q8_0);
  double before = 1e9;
  for (uint64_t bytes = least; bytes <= most; bytes += (most - least) / 37) {
    const auto a = allocate_formats(file_, file_.metadata(), all, bytes);
    ASSERT_TRUE(a.ok()) << a.status().message();
    EXPECT_LE(a->bytes, bytes);
    EXPECT_LE(a->predicted, before);
    EXPECT_GE(a->predicted, a->bound * (1 - 1e-12));
    before = a->predicted;
    // Its bytes are those that the file has.
    EXPECT_EQ(a->bytes, file_bytes(file_, file_.metadata(), [&](const TensorInfo& t) {
                const auto at = a->formats.find(t.name);
                return at == a->formats.end() ? t.format : at->second;
              }));
  }
  const auto best = allocate_formats(file_, file_.metadata(), all, most);
  ASSERT_TRUE(best.ok());
  for (const auto& [tensor, format] : best->formats) EXPECT_EQ(format, Format::q8_0) << tensor;
}

TEST_F(Allocate, SpendsTimeWhereItIsWorthMost) {
  const std::vector<MatrixChoices> all = measured();
  const auto config = read_config(file_);
  ASSERT_TRUE(config.ok());
  const FormatSeconds in = {
      {Format::q2_k, 1.0}, {Format::q4_0, 1.5}, {Format::q4_k, 2.0}, {Format::q6_k, 4.0}, {Format::q8_0, 3.0}};
  double weights = 0;
  for (const MatrixChoices& m : all) weights += double(read_weights(file_, *config, *file_.find(m.tensor)));
  double before = 1e9;
  for (const double seconds : {1.4, 1.7, 2.0, 2.5, 3.0, 5.0}) {
    const auto a = allocate_seconds(file_, file_.metadata(), *config, all, in, seconds);
    ASSERT_TRUE(a.ok()) << a.status().message();
    double sum = 0;
    for (const auto& [tensor, format] : a->formats) {
      EXPECT_NE(format, Format::q6_k) << "q8_0 is faster, and loses less";
      sum += in.at(format) * double(read_weights(file_, *config, *file_.find(tensor))) / weights;
    }
    EXPECT_NEAR(a->seconds, sum, 1e-6);
    EXPECT_LE(a->seconds, seconds);
    EXPECT_LE(a->predicted, before);
    before = a->predicted;
  }
  const auto none = allocate_seconds(file_, file_.metadata(), *config, all, in, 0.5);
  ASSERT_FALSE(none.ok());
  EXPECT_THAT(none.status().message(), HasSubstr("a budget of 2.0 tokens/s is above "));
}

TEST_F(Allocate, FindsTheSmallestFileForADamage) {
  const std::vector<MatrixChoices> all = measured();
  const auto whole = allocate_formats(file_, file_.metadata(), all, 1 << 30);
  ASSERT_TRUE(whole.ok());
  for (const double times : {1.0, 2.0, 10.0, 1e9}) {
    const auto a = allocate_damage(file_, file_.metadata(), all, times * whole->predicted);
    ASSERT_TRUE(a.ok()) << a.status().message();
    EXPECT_LE(a->predicted, times * whole->predicted);
    EXPECT_LE(a->bytes, whole->bytes);
    // With a hundredth less there is more damage, unless it is the smallest there is.
    const auto less = allocate_formats(file_, file_.metadata(), all, a->bytes - a->bytes / 100);
    EXPECT_TRUE(!less.ok() || less->predicted > times * whole->predicted) << times;
  }
  const auto none = allocate_damage(file_, file_.metadata(), all, whole->predicted / 2);
  ASSERT_FALSE(none.ok());
  EXPECT_THAT(none.status().message(), HasSubstr("add --choices with more bits"));
}

TEST_F(Allocate, SaysWhatTheSmallestFileIs) {
  const std::vector<MatrixChoices> all = measured();
  const auto a = allocate_formats(file_, file_.metadata(), all, 1000);
  ASSERT_FALSE(a.ok());
  EXPECT_THAT(a.status().message(), HasSubstr("a budget of 1000 bytes is below "));
}

TEST_F(Allocate, RefusesFormatsThatDivideNothing) {
  const auto m = measure_errors(file_, errors_of({Format::q4_k}));
  ASSERT_FALSE(m.ok());
  EXPECT_THAT(m.status().message(), HasSubstr("ffn_down"));
}

}  // namespace
}  // namespace vibee
