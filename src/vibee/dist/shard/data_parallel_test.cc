// SPDX-License-Identifier: Apache-2.0
#include "vibee/dist/shard/data_parallel.h"

#include <gtest/gtest.h>

#include "vibee/dist/transport/local.h"

namespace vibee {
namespace {

TEST(DataParallel, ReadsTheMesh) {
  EXPECT_EQ(ranks_of_mesh("dp=4"), 4u);
  for (const char* bad : {"", "dp", "dp=", "dp=0", "dp=4x", "dp=-1", "dp=99999999999", "tp=2", "dp=70000"})
    EXPECT_EQ(ranks_of_mesh(bad), 0u) << bad;
}

/// What each of three ranks says of a vote and of a hash.
TEST(DataParallel, RanksAgree) {
  for (uint32_t odd = 0; odd <= 3; ++odd) {
    auto ends = local_network(3);
    std::vector<std::thread> threads;
    for (uint32_t r = 0; r < 3; ++r)
      threads.emplace_back([&, r] {
        CommThread comm(std::move(ends[r]));
        auto vote = any_rank(comm, r == odd);
        ASSERT_TRUE(vote.ok());
        EXPECT_EQ(*vote, odd < 3);
        const std::string text = r == odd ? "another" : "same";
        const Hash128 hash = SipHash(1, 2)({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
        EXPECT_EQ(same_on_all_ranks(comm, hash, "the text").message(),
                  odd < 3 ? "ranks differ in the text; start them all alike" : "");
      });
    for (std::thread& thread : threads) thread.join();
  }
}

}  // namespace
}  // namespace vibee
