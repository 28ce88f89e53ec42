// SPDX-License-Identifier: Apache-2.0
#include "vibee/compress/quantize/calibrate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "vibee/compress/quantize/calibration_fixture.h"
#include "vibee/kit/temp_folder.h"

namespace vibee {
namespace {

using testing::HasSubstr;

/// What the first layer's queries read is the normed embedding.
TEST(Calibrate, SquaresOfTheFirstLayerAreThoseOfNormedEmbeddings) {
  const Opened m({.format = Format::f16});
  const std::vector<int32_t> tokens = ids(10 * kContext + 5, 48);
  auto got = calibrate(m.file, m.config, tokens, windows());
  ASSERT_TRUE(got.ok()) << got.status().message();
  const std::vector<float> table = m.floats("token_embd.weight"), gain = m.floats("blk.0.attn_norm.weight");
  std::vector<double> want(32);
  for (size_t t = 0; t < 10 * kContext; ++t) {
    const float* row = table.data() + size_t(tokens[t]) * 32;
    double square = 0;
    for (int i = 0; i < 32; ++i) square += double(row[i]) * row[i];
    for (int i = 0; i < 32; ++i) {
      const double x = row[i] / std::sqrt(square / 32 + 1e-5) * gain[size_t(i)];
      want[size_t(i)] += x * x / (10 * kContext);
    }
  }
  for (const char* name : {"blk.0.attn_q.weight", "blk.0.attn_k.weight", "blk.0.attn_v.weight"}) {
    const std::span<const float> means = got->of(*m.file.find(name));
    ASSERT_EQ(means.size(), 32u);
    for (size_t i = 0; i < 32; ++i) EXPECT_NEAR(means[i], want[i], 1e-5 * want[i]) << name << " " << i;
  }
}

TEST(Calibrate, EveryMatrixThatMultipliesIsThereWhateverTheThreads) {
  for (const TinyModel& model : {TinyModel{.format = Format::q8_0}, TinyModel{.architecture = "gemma3"}}) {
    const Opened m(model);
    const std::vector<int32_t> tokens = ids(100 * kContext, 48);
    auto one = calibrate(m.file, m.config, tokens, windows(1)), two = calibrate(m.file, m.config, tokens, windows(3));
    ASSERT_TRUE(one.ok()) << one.status().message();
    ASSERT_TRUE(two.ok()) << two.status().message();
    EXPECT_EQ(one->hash(), two->hash());
    for (const TensorInfo& t : m.file.tensors()) {
      const bool multiplies = t.shape.size() > 1 && (t.name != "token_embd.weight" || m.config.tied);
      EXPECT_EQ(one->of(t).size(), multiplies ? t.row_length() : 0) << t.name;
    }
  }
}

TEST(Calibrate, RefusesShortTextsWithBothNumbers) {
  const Opened m({});
  const auto message = calibrate(m.file, m.config, ids(95, 48), windows()).status().message();
  EXPECT_THAT(message, HasSubstr("has 95 tokens, at least 96 (8 windows of 12) are needed"));
  EXPECT_TRUE(calibrate(m.file, m.config, ids(96, 48), windows()).ok());
  EXPECT_THAT(calibrate(m.file, m.config, std::vector<int32_t>(96, 48), windows()).status().message(),
              HasSubstr("48 in row 0 is not in 0 to 47"));
}

TEST(Calibrate, StopsWhenAsked) {
  const Opened m({});
  CalibrateOptions options = windows();
  options.progress = [](uint64_t, uint64_t) { return false; };
  EXPECT_EQ(calibrate(m.file, m.config, ids(400 * kContext, 48), options).status().code(), Code::cancelled);
}

TEST(Importance, IsReadBackTheSame) {
  const Opened m({});
  auto made = calibrate(m.file, m.config, ids(10 * kContext, 48), windows());
  ASSERT_TRUE(made.ok());
  const TempFolder folder;
  const std::string path = folder.path() + "/a.imatrix";
  ASSERT_TRUE(made->write(path, "text.txt", 10, kContext).ok());
  auto back = Importance::read(path);
  ASSERT_TRUE(back.ok()) << back.status().message();
  EXPECT_EQ(back->hash(), made->hash());
  EXPECT_TRUE(back->check(m.file).ok());
  const Opened other({.dim = 64, .heads = 4});
  EXPECT_THAT(back->check(other.file).message(), HasSubstr("the model's matrix has 64 columns in 1"));
}

TEST(Importance, RefusesWhatIsNone) {
  const Opened m({});
  EXPECT_THAT(Importance::read(m.made.path()).status().message(), HasSubstr("general.type is \"model\""));
  const TempFolder folder;
  const auto refused = [&](float square, float count, std::vector<uint64_t> counts = {1, 1}) {
    GgufBuilder builder;
    builder.str("general.type", "imatrix");
    const auto bytes = [](std::vector<float> x) {
      std::vector<uint8_t> out(4 * x.size());
      info(Format::f32).encode(x.data(), x.size(), nullptr, out.data());
      return out;
    };
    builder.tensor("a.weight.in_sum2", Format::f32, {2, 1}, bytes({1, square}));
    if (!counts.empty())
      builder.tensor("a.weight.counts", Format::f32, counts, bytes(std::vector<float>(counts[0], count)));
    const std::vector<uint8_t> file = builder.build();
    const std::string path = folder.path() + "/bad.imatrix";
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(file.data()), std::streamsize(file.size()));
    return Importance::read(path).status().message();
  };
  EXPECT_EQ(refused(1, 1), "");
  EXPECT_THAT(refused(NAN, 1), HasSubstr("tensor \"a.weight.in_sum2\" holds nan at 1"));
  EXPECT_THAT(refused(-1, 1), HasSubstr("holds -1 at 1"));
  EXPECT_THAT(refused(1, INFINITY), HasSubstr("holds inf at 0"));
  EXPECT_THAT(refused(1, 1, {3, 1}), HasSubstr("has 2 numbers for 3 counts"));
  EXPECT_THAT(refused(1, 1, {}), HasSubstr("a.weight.counts"));
}

}  // namespace
}  // namespace vibee
