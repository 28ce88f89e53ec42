// SPDX-License-Identifier: Apache-2.0
// The allocator beside all answers of small instances; budgets are kept to the byte, and more budget is never worse.
#include "vibee/core/allocate/knapsack.h"

#include <gtest/gtest.h>

#include <cmath>

#include "vibee/base/random/philox.h"

namespace vibee {
namespace {

using Items = std::vector<std::vector<KnapsackChoice>>;

Items instance(RandomStream& random, uint32_t most_items, uint32_t largest) {
  Items items(1 + random.below(most_items));
  for (auto& choices : items)
    for (uint32_t i = 0, n = 1 + random.below(6); i < n; ++i)
      choices.push_back({1 + random.below(largest), double(random.uniform())});
  return items;
}
/// The least damage of all answers; infinite where none fits.
double exhaustive(const Items& items, uint64_t budget, size_t at = 0) {
  if (at == items.size()) return 0;
  double best = INFINITY;
  for (const KnapsackChoice& c : items[at])
    if (c.size <= budget) best = std::min(best, c.damage + exhaustive(items, budget - c.size, at + 1));
  return best;
}

TEST(Knapsack, IsTheBestOfAllAnswers) {
  RandomStream random(1, Purpose::test);
  for (int trial = 0; trial < 1000; ++trial) {
    const Items items = instance(random, 7, 500);
    const uint64_t budget = random.below(2500);
    const double best = exhaustive(items, budget);
    const auto answer = solve_knapsack(items, budget);
    ASSERT_EQ(answer.ok(), std::isfinite(best));
    if (!answer.ok()) continue;
    EXPECT_NEAR(answer->damage, best, 1e-12) << trial;
    EXPECT_LE(answer->bound, best + 1e-12) << trial;
    EXPECT_LE(answer->size, budget);
    uint64_t size = 0;
    double damage = 0;
    for (size_t i = 0; i < items.size(); ++i) {
      size += items[i][answer->chosen[i]].size;
      damage += items[i][answer->chosen[i]].damage;
    }
    EXPECT_EQ(size, answer->size);
    EXPECT_NEAR(damage, answer->damage, 1e-12);
  }
}

TEST(Knapsack, IsNearTheBoundWhereSizesAreLarge) {
  RandomStream random(2, Purpose::test);
  for (int trial = 0; trial < 4; ++trial) {
    Items items(60 + random.below(60));
    uint64_t least = 0, most = 0;
    for (auto& choices : items) {
      const uint64_t rows = 1000 + random.below(1u << 20);
      const double weight = std::exp(3 * double(random.normal()));
      for (const uint64_t bits : {1, 2, 4, 8})
        choices.push_back({rows * bits, weight * std::pow(4.0, 1 - double(bits))});
      least += choices[0].size;
      most += choices[3].size;
    }
    double before = INFINITY;
    for (uint64_t tenth = 0; tenth <= 10; ++tenth) {
      const uint64_t budget = least + (most - least) * tenth / 10;
      const auto answer = solve_knapsack(items, budget);
      ASSERT_TRUE(answer.ok());
      EXPECT_LE(answer->size, budget);
      EXPECT_LE(answer->damage, answer->bound * 1.02 + 1e-9) << trial << " " << tenth;
      EXPECT_LE(answer->damage, before * (1 + 1e-9)) << "more budget is worse";
      before = answer->damage;
    }
  }
}

TEST(Knapsack, SaysWhatIsTheSmallestSum) {
  const Items items = {{{10, 1.0}, {20, 0.0}}, {{5, 1.0}}};
  EXPECT_NE(solve_knapsack(items, 14).status().message().find("below 15"), std::string::npos);
  EXPECT_EQ(solve_knapsack(items, 15)->chosen, (std::vector<uint32_t>{0, 0}));
  EXPECT_EQ(solve_knapsack(items, UINT64_MAX)->chosen, (std::vector<uint32_t>{1, 0}));
  EXPECT_EQ(solve_knapsack({}, 0)->damage, 0);
}

}  // namespace
}  // namespace vibee
