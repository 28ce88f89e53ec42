// SPDX-License-Identifier: Apache-2.0
#include "vibee/train/data/row_sampler.h"

#include <gmock/gmock.h>

#include <cmath>
#include <map>
#include <set>

#include "vibee/base/thread/team.h"
#include "vibee/kit/temp_folder.h"
#include "vibee/train/data/permutation.h"

namespace vibee {
namespace {

using ::testing::HasSubstr;

RowSampler sampler_of(std::vector<SampleSource> sources, uint64_t seed = 1) {
  auto made = RowSampler::make(std::move(sources), seed);
  VIBEE_CHECK(made.ok(), "{}", made.status().message());
  return std::move(*made);
}

TEST(Permutation, IsOneForEverySize) {
  for (uint64_t n = 1; n <= 300; ++n) {
    std::vector<bool> seen(n);
    const Permutation permutation(n, 5, 1, 2);
    for (uint64_t i = 0; i < n; ++i) {
      const uint64_t to = permutation(i);
      ASSERT_LT(to, n);
      ASSERT_FALSE(seen[to]) << n;
      seen[to] = true;
    }
  }
  const uint64_t large = (uint64_t(1) << 40) + 12345;
  EXPECT_LT(Permutation(large, 5, 1, 2)(large - 1), large);
}

TEST(Permutation, EveryPlaceIsAsLikely) {
  // Where 0 goes under 7,000 seeds, over 7 places: chi-square with 6 degrees of freedom, 22.5 is exceeded once in 1000.
  std::vector<double> count(7);
  for (uint64_t seed = 0; seed < 7000; ++seed) ++count[Permutation(7, seed, 0, 0)(0)];
  double chi = 0;
  for (const double c : count) chi += (c - 1000) * (c - 1000) / 1000;
  EXPECT_LT(chi, 22.5);
  // Neighbours do not stay neighbours: about 2 of n do by chance.
  const Permutation permutation(10000, 3, 0, 0);
  int neighbours = 0;
  for (uint64_t i = 0; i + 1 < 10000; ++i) neighbours += permutation(i + 1) == permutation(i) + 1;
  EXPECT_LT(neighbours, 12);
}

TEST(RowSampler, AnEpochIsEveryRowOnceAndTheNextIsInAnotherOrder) {
  const RowSampler sampler = sampler_of({{1000, 3}});
  std::vector<uint64_t> orders[2];
  for (uint64_t g = 0; g < 2000; ++g) {
    const Sample s = sampler.at(g);
    EXPECT_EQ(s.epoch, g / 1000);
    orders[s.epoch].push_back(s.row);
  }
  EXPECT_NE(orders[0], orders[1]);
  for (const auto& order : orders) EXPECT_EQ(std::set<uint64_t>(order.begin(), order.end()).size(), 1000u);
}

TEST(RowSampler, WeightsHoldToWithinOneAtEveryPoint) {
  const std::vector<std::vector<uint32_t>> cases = {
      {1}, {1, 1}, {7, 3}, {1, 99}, {5, 3, 2}, {1, 1, 1, 997}, {60, 30, 6, 3, 1}, {2, 4, 6}, {11, 7, 5, 3, 2, 1, 1, 1}};
  for (const auto& weights : cases) {
    std::vector<SampleSource> sources;
    double total = 0;
    for (const uint32_t w : weights) sources.push_back({10, w}), total += w;
    const RowSampler sampler = sampler_of(sources);
    std::vector<double> count(weights.size());
    for (uint64_t g = 1; g <= 3000; ++g) {
      ++count[sampler.at(g - 1).source];
      for (size_t i = 0; i < count.size(); ++i)
        ASSERT_LT(std::abs(count[i] - double(g) * weights[i] / total), 1.0) << g;
    }
  }
}

TEST(RowSampler, GoesOnAnywhereOnAnyNumberOfRanks) {
  const std::vector<SampleSource> sources = {{37, 2}, {11, 3}};
  using Seen = std::vector<std::tuple<uint32_t, uint32_t, uint64_t>>;
  const auto take = [](const RowSampler& sampler, uint64_t g) {
    const Sample s = sampler.at(g);
    return std::tuple(s.source, s.epoch, s.row);
  };
  Seen whole;
  const RowSampler alone = sampler_of(sources);
  for (uint64_t g = 0; g < 120; ++g) whole.push_back(take(alone, g));
  for (uint64_t stop = 0; stop <= 120; stop += 8) {
    Seen seen;
    RowSampler sampler = sampler_of(sources);
    const auto run = [&](uint64_t until, uint32_t ranks) {
      for (; sampler.next() < until; sampler.advance(8)) {
        for (uint32_t rank = 0; rank < ranks; ++rank) {
          const Range mine = share(8, rank, ranks);
          for (uint32_t i = mine.begin; i < mine.end; ++i) seen.push_back(take(sampler, sampler.next() + i));
        }
      }
    };
    run(stop, 2);
    const std::string state = sampler.state();
    sampler = sampler_of(sources);
    ASSERT_TRUE(sampler.restore(state).ok());
    run(120, 3);
    EXPECT_EQ(seen, whole) << stop;
  }
}

TEST(RowSampler, RefusesTheStateOfAnotherRun) {
  const std::string state = sampler_of({{37, 2}, {11, 3}}).state();
  for (RowSampler other :
       {sampler_of({{38, 2}, {11, 3}}), sampler_of({{37, 1}, {11, 3}}), sampler_of({{37, 2}, {11, 3}}, 2)})
    EXPECT_THAT(other.restore(state).message(), HasSubstr("give the same data"));
  RowSampler same = sampler_of({{37, 2}, {11, 3}});
  for (const std::string& bad :
       {std::string(), state + "x", state.substr(0, state.size() - 1), state + "99999999999999999999"})
    EXPECT_FALSE(same.restore(bad).ok()) << bad;
  EXPECT_TRUE(same.restore(state).ok());
}

TEST(RowSampler, RefusesWhatItCannotDraw) {
  EXPECT_FALSE(RowSampler::make({}, 1).ok());
  EXPECT_FALSE(RowSampler::make({{0, 1}}, 1).ok());
  EXPECT_FALSE(RowSampler::make({{5, 0}}, 1).ok());
  EXPECT_THAT(RowSampler::make({{5, 1}, {5, 4000000000}}, 1).status().message(), HasSubstr("round them"));
}

TEST(RowSampler, RowsKnowTheirDocuments) {
  TempFolder folder;
  auto writer = TokenStoreWriter::create(folder.path() + "/store", 100, {});
  ASSERT_TRUE(writer.ok());
  ASSERT_TRUE(writer->add({.ids = {1, 2, 3}}).ok());
  ASSERT_TRUE(writer->add({.ids = {4, 5, 6, 7}, .learnt = {false, false, true, true}}).ok());
  ASSERT_TRUE(writer->finish().ok());
  const auto store = TokenStore::open(folder.path() + "/store");
  ASSERT_TRUE(store.ok());
  EXPECT_EQ(rows_of(store->tokens(), 6), 1u);
  EXPECT_EQ(rows_of(store->tokens(), 7), 0u);
  TrainingRow row;
  ASSERT_TRUE(read_row(*store, 0, 6, &row).ok());
  EXPECT_THAT(row.ids, testing::ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_THAT(row.targets, testing::ElementsAre(2, 3, 4, 5, 6, 7));
  EXPECT_THAT(row.weights, testing::ElementsAre(1, 1, 0, 0, 1, 1));
  EXPECT_THAT(row.borders, testing::ElementsAre(0, 3));
  ASSERT_TRUE(read_row(*store, 1, 3, &row).ok());
  EXPECT_THAT(row.ids, testing::ElementsAre(4, 5, 6));
  EXPECT_THAT(row.borders, testing::ElementsAre(0));
}

}  // namespace
}  // namespace vibee
