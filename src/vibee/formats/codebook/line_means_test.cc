// SPDX-License-Identifier: Apache-2.0
// Clusters on a line against scikit-learn's k-means (tools/make_any_precision_goldens.py) and against all cuts there
// are.
#include "vibee/formats/codebook/line_means.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>

#include "vibee/base/random/philox.h"

namespace vibee {
namespace {

double total(const LinePoints& points, const std::vector<uint32_t>& borders) {
  double sum = 0;
  for (size_t c = 0; c + 1 < borders.size(); ++c)
    if (borders[c] < borders[c + 1]) sum += points.error(borders[c], borders[c + 1]);
  return sum;
}

TEST(LineMeans, AreNoWorseThanScikitLearnsAndWithinAHundredth) {
  std::ifstream in(std::string(VIBEE_SOURCE_DIR) + "/data/golden/any_precision/means.bin", std::ios::binary);
  ASSERT_TRUE(in);
  const std::vector<char> raw{std::istreambuf_iterator<char>(in), {}};
  const char* at = raw.data();
  int cases = 0;
  for (; at < raw.data() + raw.size(); ++cases) {
    uint32_t sizes[2];
    std::memcpy(sizes, at, 8);
    const uint32_t n = sizes[0], k = sizes[1];
    std::vector<float> x(n), weights(n);
    double want;
    std::memcpy(x.data(), at + 8, 4 * n);
    std::memcpy(weights.data(), at + 8 + 4 * n, 4 * n);
    std::memcpy(&want, at + 8 + 8 * n, 8);
    at += 16 + 8 * n;
    const LinePoints points(x.data(), n, weights.data());
    const double got = total(points, points.clusters(k));
    EXPECT_LE(got, want * (1 + 1e-5)) << cases;  // weights near zero count as a millionth
    EXPECT_GE(got, want * 0.95) << cases;
  }
  EXPECT_EQ(cases, 24);
}

/// The error of points about their mean, summed plainly.
double plain(const std::vector<float>& x, const std::vector<float>& w, size_t begin, size_t end) {
  double weight = 0, first = 0, sum = 0;
  for (size_t i = begin; i < end; ++i) weight += w[i], first += double(w[i]) * x[i];
  for (size_t i = begin; i < end; ++i) sum += w[i] * (x[i] - first / weight) * (x[i] - first / weight);
  return sum;
}

TEST(LineMeans, SplitsAreTheBestOfAllAndClustersTheBestOfAllCuts) {
  RandomStream random(31, Purpose::test);
  for (int round = 0; round < 1000; ++round) {
    const uint32_t n = 1 + random.below(round % 2 ? 9 : 40);
    std::vector<float> x(n), w(n);
    for (uint32_t i = 0; i < n; ++i) {
      x[i] = 1000.0f + 0.1f * random.normal();  // far from zero: sums in float would cancel
      w[i] = 0.05f + random.uniform();
    }
    std::sort(x.begin(), x.end());
    x.erase(std::unique(x.begin(), x.end()), x.end());
    w.resize(x.size());
    const auto size = uint32_t(x.size());
    const LinePoints points(x.data(), size, w.data());
    ASSERT_EQ(points.size(), size);
    const uint32_t at = points.split(0, size);
    double best = size > 1 ? 1e300 : 0;
    for (uint32_t i = 1; i < size; ++i) best = std::min(best, plain(x, w, 0, i) + plain(x, w, i, size));
    if (size == 1) {
      EXPECT_EQ(at, size);
      continue;
    }
    EXPECT_NEAR(plain(x, w, 0, at) + plain(x, w, at, size), best, 1e-9);
    if (size > 9 || size < 3) continue;
    double three = 1e300;
    for (uint32_t i = 1; i < size; ++i)
      for (uint32_t j = i + 1; j < size; ++j)
        three = std::min(three, plain(x, w, 0, i) + plain(x, w, i, j) + plain(x, w, j, size));
    EXPECT_NEAR(total(points, points.clusters(3)), three, 1e-9);
  }
}

TEST(LineMeans, EqualNumbersAreOnePointAndFewPointsHaveAClusterEach) {
  const std::vector<float> x = {3, 1, 3, NAN, 1, INFINITY};
  const LinePoints points(x.data(), x.size(), nullptr);
  ASSERT_EQ(points.size(), 3u);  // 0, 1, 3
  EXPECT_EQ(points.point_of(3), points.point_of(5));
  EXPECT_DOUBLE_EQ(points.mean(points.point_of(0), points.point_of(0) + 1), 3);
  EXPECT_EQ(points.clusters(8), (std::vector<uint32_t>{0, 1, 2, 3, 3, 3, 3, 3, 3}));
  EXPECT_EQ(points.split(2, 3), 3u);
}

TEST(LineMeans, WeightsOfZeroForgetNothingAndAllOfThemAreAlike) {
  const std::vector<float> x = {-1, 1, 5, 7}, none(4, 0.0f), some = {1, 1, 0, 0};
  const LinePoints alike(x.data(), 4, nullptr), zero(x.data(), 4, none.data()), half(x.data(), 4, some.data());
  EXPECT_EQ(alike.clusters(2), zero.clusters(2));
  EXPECT_DOUBLE_EQ(alike.error(0, 4), zero.error(0, 4));
  EXPECT_NEAR(half.mean(2, 4), 6, 1e-9);
  EXPECT_EQ(half.clusters(3), (std::vector<uint32_t>{0, 1, 2, 4}));
}

}  // namespace
}  // namespace vibee
