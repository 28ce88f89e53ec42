// SPDX-License-Identifier: Apache-2.0
// Against optimum-quanto itself (tools/make_quanto_goldens.py).
#include "vibee/compress/quantize/quanto.h"

#include <gtest/gtest.h>

#include <cmath>

#include "vibee/compress/quantize/hqq_search.h"
#include "vibee/compress/quantize/linear_writer.h"
#include "vibee/kit/golden_tensors.h"

namespace vibee {
namespace {

using Case = GoldenTensors::Case;

class Quanto : public testing::Test {
 protected:
  Quanto() : golden_("quanto_codes.safetensors") {}
  void SetUp() override { ASSERT_EQ(golden_.cases().size(), 12u); }
  GoldenTensors golden_;
};

TEST_F(Quanto, CodesScalesAndShiftsAreThePackages) {
  Team team(3);
  for (const Case& c : golden_.cases())
    for (const char* scheme : {"qint2", "qint4", "qint8", "qfloat8"}) {
      const QuantoType type = *find_quanto_type(scheme);
      const std::string at = c.name + "." + scheme;
      for (Team* by : {static_cast<Team*>(nullptr), &team}) {
        const QuantoMatrix made = quanto_quantize(c.base, c.k, type, c.format, false, by);
        EXPECT_EQ(made.codes, golden_.bytes(at + ".data")) << at;
        EXPECT_EQ(encoded_floats(c.format, made.scale), golden_.bytes(at + ".scale")) << at;
        EXPECT_EQ(golden_.floats(at + ".scale"), made.scale) << at;  // nothing is lost in the file
        if (type.bits == 8) {
          EXPECT_TRUE(made.shift.empty());
        } else {
          EXPECT_EQ(encoded_floats(c.format, made.shift), golden_.bytes(at + ".shift")) << at;
        }
      }
    }
}

/// Mean |w - w'| of what a file would hold.
double mean_error(const Case& c, const QuantoMatrix& m, uint32_t bits) {
  const uint64_t group = quanto_group(c.k), groups = c.base.size() / group, rows = m.codes.size() / group;
  double sum = 0;
  for (uint64_t g = 0; g < groups; ++g)
    for (uint64_t i = 0; i < group; ++i) {
      const uint32_t u = m.codes[g % rows * group + i] >> (g / rows * bits) & ((1u << bits) - 1);
      sum += std::fabs(double(c.base[g * group + i]) - (double(m.scale[g]) * u - m.shift[g]));
    }
  return sum / double(c.base.size());
}

TEST_F(Quanto, TheSearchLosesNoMoreThanThePackagesAndThanNone) {
  for (const Case& c : golden_.cases())
    for (const uint32_t bits : {2u, 4u}) {
      const QuantoType type = *find_quanto_type(bits == 2 ? "qint2" : "qint4");
      const double plain = mean_error(c, quanto_quantize(c.base, c.k, type, c.format, false, nullptr), bits);
      const double searched = mean_error(c, quanto_quantize(c.base, c.k, type, c.format, true, nullptr), bits);
      EXPECT_LE(searched, plain * (1 + 1e-6)) << c.name << " " << bits;
      // Every group keeps its best step here, all stop at once there.
      EXPECT_LE(searched, golden_.floats(fmt::format("{}.{}.hqq", c.name, type.scheme))[0] * (1 + 1e-3))
          << c.name << bits;
    }
}

TEST(HqqSearch, MovesCodesToWhereTheWeightsAre) {
  const ShiftedGrid grid{0.1f, 15, [](float x) { return x; }};
  std::vector<float> w;
  for (int i = 0; i < 15; ++i) w.push_back(0.1f * float(i) + 0.04f);  // all off the codes by the same
  w.push_back(0);
  const float shift = hqq_shift(w, grid, 0);
  EXPECT_NEAR(shift, -0.04f, 0.005f);
  EXPECT_EQ(hqq_shift(w, {0, 15, grid.rounded}, 0.5f), 0.5f);
  EXPECT_EQ(hqq_shift({}, grid, 0.5f), 0.5f);
}

TEST(QuantoGroups, AreThoseOfThePackage) {
  EXPECT_EQ(quanto_group(64), 64u);
  EXPECT_EQ(quanto_group(128), 128u);
  EXPECT_EQ(quanto_group(160), 32u);
  EXPECT_EQ(quanto_group(192), 96u);
  EXPECT_EQ(quanto_group(576), 96u);
  EXPECT_EQ(quanto_group(2048), 128u);
  EXPECT_EQ(quanto_group(130), 130u);
}

TEST(QuantoRows, OfOneNumberStayFinite) {
  const std::vector<float> zeros(256), same(256, 0.25f);
  for (const std::string& scheme : quanto_types())
    for (const Format format : {Format::f32, Format::f16, Format::bf16})
      for (const auto* w : {&zeros, &same}) {
        const QuantoType type = *find_quanto_type(std::string_view(scheme).substr(7));
        const QuantoMatrix m = quanto_quantize(*w, 128, type, format, true, nullptr);
        for (const float s : m.scale) EXPECT_TRUE(std::isfinite(s));
        for (const float s : m.shift) EXPECT_EQ(s, -(*w)[0]);
        const uint8_t zero = w == &zeros ? 0 : m.codes[0];
        for (const uint8_t code : m.codes) EXPECT_EQ(code, type.bits == 8 ? zero : 0) << scheme;
      }
  EXPECT_FALSE(find_quanto_type("qint3").ok());
}

}  // namespace
}  // namespace vibee
