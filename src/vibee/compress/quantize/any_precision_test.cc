// SPDX-License-Identifier: Apache-2.0
// Nested codes of rows: every width is the beginning of the next, loses no more than a narrower one, and is cut as well
// as clusters of its parent can be.
#include "vibee/compress/quantize/any_precision.h"

#include <gtest/gtest.h>

#include <cmath>

#include "vibee/base/math/half.h"
#include "vibee/base/random/philox.h"
#include "vibee/formats/codebook/line_means.h"

namespace vibee {
namespace {

struct Case {
  std::vector<float> x, weights;
};
/// Normal numbers, some of them equal, some rows constant or nearly so; weights of zero, of squares, or none.
Case random_case(RandomStream& random, uint32_t n) {
  Case c;
  const uint32_t kind = random.below(5), weighted = random.below(3);
  for (uint32_t i = 0; i < n; ++i) {
    const float v = random.normal();
    c.x.push_back(kind == 0 ? 0.25f : kind == 1 ? std::round(4 * v) / 64 : kind == 2 ? 1.0f + 1e-4f * v : 0.02f * v);
    const float g = random.normal();
    if (weighted > 0) c.weights.push_back(weighted == 1 ? 1e-9f * g * g : i % 3 ? 0.0f : g * g);
  }
  return c;
}
const float* weights_of(const Case& c) { return c.weights.empty() ? nullptr : c.weights.data(); }

double error_at(const Case& c, const std::vector<uint8_t>& codes, const NestedTables& tables, NestedWidths w,
                uint32_t bits) {
  double sum = 0;
  for (size_t i = 0; i < c.x.size(); ++i) {
    const double off = double(half_to_float(tables[bits - w.seed][codes[i] >> (w.parent - bits)])) - c.x[i];
    sum += (c.weights.empty() ? 1.0 : double(c.weights[i])) * off * off;
  }
  return sum;
}

TEST(AnyPrecision, AWiderWidthNeverLosesMore) {
  RandomStream random(41, Purpose::test);
  for (int round = 0; round < 300; ++round) {
    const Case c = random_case(random, 32 + 32 * random.below(12));
    const NestedWidths w{3 + random.below(2), 5 + random.below(4)};
    std::vector<uint8_t> codes(c.x.size());
    NestedTables tables;
    nest_row(c.x.data(), c.x.size(), weights_of(c), w, codes.data(), &tables);
    ASSERT_EQ(tables.size(), w.parent - w.seed + 1);
    double before = INFINITY;
    for (uint32_t bits = w.seed; bits <= w.parent; ++bits) {
      ASSERT_EQ(tables[bits - w.seed].size(), 1u << bits);
      const double error = error_at(c, codes, tables, w, bits);
      // Weights of zero count as a millionth of the mean where clusters are cut.
      EXPECT_LE(error, before * (1 + 1e-5) + 1e-15) << round << " " << bits;
      before = error;
    }
  }
}

TEST(AnyPrecision, TheSeedIsTheBestOfItsSizeAndAParentCutsWhereItIsBest) {
  RandomStream random(42, Purpose::test);
  for (int round = 0; round < 100; ++round) {
    const Case c = random_case(random, 64 + random.below(300));
    const NestedWidths w{3, 6};
    std::vector<uint8_t> codes(c.x.size());
    NestedTables tables;
    nest_row(c.x.data(), c.x.size(), weights_of(c), w, codes.data(), &tables);
    const LinePoints points(c.x.data(), c.x.size(), weights_of(c));
    std::vector<uint32_t> borders = points.clusters(8);
    for (uint32_t bits = 3; bits <= 6; ++bits) {
      for (uint32_t i = 0; i < c.x.size(); ++i) {
        const uint32_t cluster = codes[i] >> (w.parent - bits);
        EXPECT_GE(points.point_of(i), borders[cluster]);
        EXPECT_LT(points.point_of(i), borders[cluster + 1]);
      }
      std::vector<uint32_t> finer = {0};
      for (size_t j = 0; j + 1 < borders.size(); ++j) {
        if (borders[j] < borders[j + 1]) {
          EXPECT_EQ(tables[bits - 3][j], float_to_half(float(points.mean(borders[j], borders[j + 1]))));
        }
        finer.push_back(points.split(borders[j], borders[j + 1]));
        finer.push_back(borders[j + 1]);
      }
      borders = finer;
    }
  }
}

TEST(AnyPrecision, ClustersThatCannotBeCutLeaveTheirValueToBoth) {
  const std::vector<float> x = {1, 2, 2, 1};
  uint8_t codes[4];
  NestedTables tables;
  nest_row(x.data(), 4, nullptr, {3, 8}, codes, &tables);
  for (uint32_t bits = 3; bits <= 8; ++bits) {
    const auto& values = tables[bits - 3];
    for (size_t c = 0; c < values.size(); ++c)
      EXPECT_EQ(half_to_float(values[c]), c < values.size() / 8 ? 1.0f : 2.0f) << bits << " " << c;
    for (int i = 0; i < 4; ++i) EXPECT_EQ(half_to_float(values[codes[i] >> (8 - bits)]), x[size_t(i)]);
  }
}

TEST(AnyPrecision, HalvesHoldWhatIsTooLargeOrNoNumber) {
  const std::vector<float> x = {1e30f, -1e30f, NAN, INFINITY, 1, -1, 0, 2};
  uint8_t codes[8];
  NestedTables tables;
  nest_row(x.data(), x.size(), nullptr, {3, 4}, codes, &tables);
  for (const auto& values : tables)
    for (const uint16_t v : values) EXPECT_TRUE(std::isfinite(half_to_float(v)));
  EXPECT_EQ(half_to_float(tables[1][codes[0]]), 65504.0f);
}

TEST(AnyPrecision, CellsOfARangeAreNestedAndCodesStandForTheirMiddles) {
  RandomStream random(43, Purpose::test);
  for (int round = 0; round < 200; ++round) {
    const Case c = random_case(random, 64);
    const uint32_t parent = 3 + random.below(6);
    uint8_t codes[64];
    const NestedRange range = nest_group(c.x.data(), 64, parent, codes);
    const float high = range.low + range.cell * float(1u << parent);
    for (uint32_t bits = 3; bits <= parent; ++bits)
      for (uint32_t i = 0; i < 64; ++i) {
        const float value = range.scale(parent, bits) * float(codes[i] >> (parent - bits)) + range.offset(parent, bits);
        // Half a cell of the width, and the roundings of a few sums.
        EXPECT_LE(std::fabs(value - c.x[i]),
                  range.scale(parent, bits) * 0.5f + 4e-7f * (std::fabs(high) + std::fabs(c.x[i])));
      }
  }
}

}  // namespace
}  // namespace vibee
