// SPDX-License-Identifier: Apache-2.0
#include "vibee/graph/pass/gradient_bucket.h"

#include <gtest/gtest.h>

#include <random>

#include "vibee/graph/pass/overlap_compute_comm.h"

namespace vibee {
namespace {

TEST(GradientBucket, ClosesWhatIsFull) {
  const std::vector<uint64_t> bytes = {4, 10, 10, 30, 5, 5, 1};
  EXPECT_EQ(bucket_ends(bytes, {8, 20}), (std::vector<size_t>{2, 4, 7}));
  EXPECT_EQ(bucket_ends(bytes, {1, 1}), (std::vector<size_t>{1, 2, 3, 4, 5, 6, 7}));
  EXPECT_EQ(bucket_ends(bytes, {0, 0}), (std::vector<size_t>{1, 2, 3, 4, 5, 6, 7}));
  EXPECT_EQ(bucket_ends(bytes, {UINT64_MAX, UINT64_MAX}), (std::vector<size_t>{7}));
  EXPECT_TRUE(bucket_ends({}, {}).empty());
}

/// Every cut of n gradients, tried.
TEST(GradientBucket, TheBestCutIsThatOfAllCuts) {
  std::mt19937 random(5);
  for (int instance = 0; instance < 100; ++instance) {
    const size_t n = 1 + random() % 9;
    std::vector<double> ready(n);
    std::vector<uint64_t> bytes(n);
    double time = 0;
    for (size_t i = 0; i < n; ++i) {
      ready[i] = time += double(random() % 100);
      bytes[i] = random() % 1000;
    }
    const LinkCost link{double(random() % 50), double(random() % 30) / 100};
    double best = 1e300;
    for (uint32_t cuts = 0; cuts < 1u << (n - 1); ++cuts) {
      std::vector<size_t> ends;
      for (size_t i = 1; i < n; ++i)
        if (cuts >> (i - 1) & 1) ends.push_back(i);
      ends.push_back(n);
      best = std::min(best, bucket_finish(ready, bytes, ends, link));
    }
    const std::vector<size_t> mine = best_bucket_ends(ready, bytes, link);
    ASSERT_EQ(mine.back(), n);
    EXPECT_DOUBLE_EQ(bucket_finish(ready, bytes, mine, link), best) << instance;
  }
}

TEST(OverlapComputeComm, CountsWhatIsHidden) {
  EXPECT_DOUBLE_EQ(hidden_share({{0, 10}}, {{2, 4}, {8, 12}}), 4.0 / 6);
  EXPECT_DOUBLE_EQ(hidden_share({{0, 2}, {1, 3}}, {{0, 4}, {2, 3}}), 3.0 / 4);
  EXPECT_EQ(hidden_share({{0, 1}}, {{1, 2}}), 0);
  EXPECT_EQ(hidden_share({{0, 1}}, {}), 0);
  const std::string svg = overlap_svg({{5, 6}}, {{5.5, 6.5}});
  EXPECT_NE(svg.find("1500.00 ms; 50 % of the communication is hidden"), std::string::npos) << svg;
}

}  // namespace
}  // namespace vibee
