// SPDX-License-Identifier: Apache-2.0
// Programs: verified for many numbers of ranks and shares, refused with planted faults, and executed on threads with
// the bytes of the plain sum over the tree.
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "vibee/dist/collective/comm_thread.h"
#include "vibee/dist/transport/local.h"
#include "vibee/dist/transport/shaped.h"

namespace vibee {
namespace {

TEST(SumTree, AddsTheSharesInOneOrder) {
  EXPECT_EQ(split({0, 8}), 4u);
  EXPECT_EQ(split({0, 3}), 2u);
  EXPECT_EQ(split({4, 6}), 5u);
  EXPECT_EQ(whole_nodes(8, {0, 4}), (std::vector<ShareRange>{{0, 4}}));
  EXPECT_EQ(whole_nodes(8, {1, 7}), (std::vector<ShareRange>{{1, 2}, {2, 4}, {4, 6}, {6, 7}}));
  for (uint32_t shares = 1; shares < 20; ++shares)
    for (uint32_t first = 0; first < shares; ++first)
      for (uint32_t end = first + 1; end <= shares; ++end) {
        // Buffers as sets of shares: whatever is added is neighbours, and buffer i ends as node i.
        const ShareSums sums = share_sums(shares, {first, end});
        ASSERT_EQ(sums.shares.size(), end - first);
        std::vector<ShareRange> held(sums.buffers, {0, 0});
        for (uint32_t k = 0; k < sums.shares.size(); ++k) {
          held[sums.shares[k].buffer] = {first + k, first + k + 1};
          for (const auto& [left, right] : sums.shares[k].adds) {
            ASSERT_EQ(held[left].end, held[right].first);
            held[left].end = held[right].end;
          }
        }
        const std::vector<ShareRange> nodes = whole_nodes(shares, {first, end});
        for (size_t i = 0; i < nodes.size(); ++i) EXPECT_EQ(held[i], nodes[i]);
      }
}

TEST(CommProgram, IsVerified) {
  for (uint32_t ranks = 1; ranks <= 33; ++ranks)
    for (uint32_t shares : {ranks, ranks + 1, 2 * ranks, 3 * ranks + 1}) {
      const Status status = verify(direct_all_reduce(shares, ranks));
      EXPECT_TRUE(status.ok()) << ranks << " ranks, " << shares << " shares: " << status.message();
    }
  EXPECT_EQ(to_string(direct_all_reduce(2, 2)),
            "r0: send 1 b0.1\nr0: recv 1 b1.0\nr0: add b0.0 = b0 + b1\nr0: send 1 b0.0\nr0: recv 1 b0.1\n"
            "r1: send 0 b0.0\nr1: recv 0 b1.1\nr1: add b0.1 = b1 + b0\nr1: send 0 b0.1\nr1: recv 0 b0.0\n");
}

/// Every step left out, doubled, or moved to another peer, part or buffer: nothing passes that is not the sum.
TEST(CommProgram, PlantedFaultsAreFound) {
  const CommProgram good = direct_all_reduce(4, 3);
  ASSERT_TRUE(verify(good).ok());
  const auto found = [](const CommProgram& program, std::string_view what) {
    const Status status = verify(program);
    EXPECT_FALSE(status.ok()) << what << "\n" << to_string(program);
    EXPECT_NE(status.message().find("rank "), std::string::npos) << status.message();
  };
  for (uint32_t r = 0; r < 3; ++r)
    for (size_t i = 0; i < good.ranks[r].size(); ++i) {
      CommProgram bad = good;
      bad.ranks[r].erase(bad.ranks[r].begin() + ptrdiff_t(i));
      found(bad, "left out");
      const CommStep& step = good.ranks[r][i];
      bad = good;
      bad.ranks[r].insert(bad.ranks[r].begin() + ptrdiff_t(i), good.ranks[r][i]);
      // A sum into a third buffer is the same however often it is made.
      if (step.op != CommOp::add || step.buffer == step.left || step.buffer == step.right) found(bad, "doubled");
      bad = good;
      bad.ranks[r][i].part = (bad.ranks[r][i].part + 1) % 3;
      found(bad, "another part");
      if (good.ranks[r][i].op == CommOp::add) {
        bad = good;
        std::swap(bad.ranks[r][i].left, bad.ranks[r][i].right);
        found(bad, "another order");
      } else {
        bad = good;
        bad.ranks[r][i].peer = 3 - r - bad.ranks[r][i].peer;
        found(bad, "another peer");
        bad.ranks[r][i].peer = r;
        found(bad, "itself");
      }
    }
  CommProgram stuck = direct_all_reduce(2, 2);
  for (auto& steps : stuck.ranks) std::swap(steps[0], steps[4]);  // both wait for the sum first
  found(stuck, "deadlock");
}

/// What the tree says, on one thread.
std::vector<float> tree_sum(const std::vector<std::vector<float>>& shares, ShareRange node) {
  if (node.end - node.first == 1) return shares[node.first];
  std::vector<float> left = tree_sum(shares, {node.first, split(node)});
  const std::vector<float> right = tree_sum(shares, {split(node), node.end});
  for (size_t i = 0; i < left.size(); ++i) left[i] += right[i];
  return left;
}

TEST(Reduction, HasTheBytesOfOneRank) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  struct World {
    uint32_t ranks, shares;
  };
  for (const World world : {World{1, 3}, {2, 2}, {2, 5}, {3, 4}, {4, 4}, {5, 8}})
    for (const uint64_t count : {uint64_t(0), uint64_t(1), uint64_t(7), uint64_t(1023)}) {
      const uint32_t ranks = world.ranks, shares = world.shares;
      std::vector<std::vector<float>> data(shares, std::vector<float>(count));
      for (auto& share : data)
        for (float& x : share) x = normal(random) * std::ldexp(1.0f, int(random() % 20));
      const std::vector<float> want = tree_sum(data, {0, shares});
      const CommProgram program = direct_all_reduce(shares, ranks);
      std::vector<std::vector<float>> got(ranks);
      auto ends = local_network(ranks);
      std::vector<std::thread> threads;
      for (uint32_t r = 0; r < ranks; ++r)
        threads.emplace_back([&, r] {
          CommThread comm(r == 0 ? shaped(std::move(ends[r]), {1e-4, 1e8}) : std::move(ends[r]));
          std::vector<std::vector<float>> sums;
          std::vector<float*> places;
          for (const ShareRange node : whole_nodes(shares, program.ranges[r])) sums.push_back(tree_sum(data, node));
          for (auto& sum : sums) places.push_back(sum.data());
          // Two at once, and again: nothing is left of the one before.
          std::vector<float> other(count, float(r + 1));
          const CommProgram simple = direct_all_reduce(ranks, ranks);
          Reduction first(program, r, count, places), second(simple, r, count, {other.data()});
          comm.submit(&first);
          comm.submit(&second);
          EXPECT_TRUE(comm.wait().ok());
          std::fill(other.begin(), other.end(), float(r + 1));
          comm.submit(&second);
          EXPECT_TRUE(comm.wait().ok());
          for (const float x : other) EXPECT_EQ(x, float(ranks * (ranks + 1)) / 2);
          EXPECT_EQ(comm.take_spans().size(), 3u);
          got[r] = sums[0];
        });
      for (std::thread& thread : threads) thread.join();
      for (uint32_t r = 0; r < ranks; ++r)
        EXPECT_TRUE(count == 0 || std::memcmp(got[r].data(), want.data(), 4 * count) == 0) << ranks << " " << shares;
    }
}

TEST(Reduction, EndsWhereARankGivesUp) {
  auto ends = local_network(3);
  std::vector<Status> said(3);
  std::vector<std::thread> threads;
  for (uint32_t r = 0; r < 3; ++r)
    threads.emplace_back([&, r] {
      CommThread comm(std::move(ends[r]));
      if (r == 1) {
        comm.abort("no room");
        said[r] = comm.wait();
      } else {
        said[r] = sum_over_ranks(comm, 1).take_status();
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(said[0].message(), "rank 1: no room");
  EXPECT_EQ(said[2].message(), "rank 1: no room");
  EXPECT_FALSE(said[1].ok());
}

TEST(Transport, RefusesAMessageOfAnotherSize) {
  auto ends = local_network(2);
  const std::vector<uint8_t> four(4);
  std::vector<uint8_t> eight(8);
  ends[0]->send(1, 0, four);
  ends[1]->receive(0, 0, eight);
  EXPECT_NE(ends[1]->poll().message().find("rank 0 sent 4 bytes, rank 1 waits for 8"), std::string::npos);
}

/// A shaped message takes its latency and its bytes' time at least.
TEST(Transport, ShapedTakesItsTime) {
  auto ends = local_network(2);
  auto slow = shaped(std::move(ends[0]), {0.01, 1e6});
  const std::vector<uint8_t> bytes(20000, 7);
  std::vector<uint8_t> got(bytes.size());
  const auto begin = std::chrono::steady_clock::now();
  const auto sent = slow->send(1, 0, bytes);
  const auto received = ends[1]->receive(0, 0, got);
  while (!ends[1]->done(received)) {
    ASSERT_TRUE(slow->poll().ok());
    ASSERT_TRUE(ends[1]->poll().ok());
  }
  EXPECT_GE(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count(), 0.03);
  ASSERT_TRUE(slow->poll().ok());
  EXPECT_TRUE(slow->done(sent));
  EXPECT_EQ(got, bytes);
}

}  // namespace
}  // namespace vibee
