// SPDX-License-Identifier: Apache-2.0
// The shim: what a right program gives, and that each planted bug is found and named.
#include "vibee/core/device/block.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "vibee/core/device/block_reduce.h"
#include "vibee/kit/block_shim.h"

namespace vibee {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr ShimKernel kKernel{"probe", 1024, 4096};

/// A launch of `blocks` blocks of `threads` threads that may touch `memory`.
struct Trial {
  ShimLaunch launch;
  std::vector<ShimMemory> memory;

  Trial(uint32_t blocks, uint32_t threads, std::vector<ShimMemory> m = {}, uint64_t seed = 0) : memory(std::move(m)) {
    launch.grid[0] = blocks;
    launch.block[0] = threads;
    launch.memory = memory;
    launch.seed = seed;
  }
  template <class F>
  Status run(F&& program) {
    return run_shim(kKernel, launch, program);
  }
  /// What is wrong with the program, in every order of threads.
  template <class F>
  std::string finding(F&& program) {
    std::string first;
    for (const uint64_t seed : {uint64_t(0), uint64_t(1), uint64_t(2), uint64_t(3)}) {
      launch.seed = seed;
      const Status status = run(program);
      EXPECT_FALSE(status.ok()) << "seed " << seed;
      if (seed == 0) first = status.message();
    }
    return first;
  }
};
template <class T>
ShimMemory all_of(std::vector<T>& v) {
  return {v.data(), v.size() * sizeof(T)};
}

TEST(BlockShim, RunsEveryThreadOfEveryBlock) {
  for (const uint64_t seed : {0, 1, 2}) {
    std::vector<uint32_t> out(3 * 2 * 2 * 64);
    Trial trial(3, 64, {all_of(out)}, seed);
    trial.launch.grid = {3, 2, 2};
    const Status status = trial.run([&](ShimBlock& b) {
      const uint32_t block = (b.block_z() * b.grid_y() + b.block_y()) * b.grid_x() + b.block_x();
      b.store(out.data(), block * b.threads() + b.thread(), block * 1000 + b.warp() * 32 + b.lane());
    });
    ASSERT_TRUE(status.ok()) << status.message();
    for (uint32_t i = 0; i < out.size(); ++i) EXPECT_EQ(out[i], i / 64 * 1000 + i % 64);
  }
}

TEST(BlockShim, ReducesInOneOrder) {
  for (const uint32_t threads : {32u, 64u, 96u, 256u, 1024u})
    for (const uint64_t seed : {0, 5}) {
      std::vector<float> out(threads), largest(threads);
      Trial trial(1, threads, {all_of(out), all_of(largest)}, seed);
      const auto value = [](uint32_t t) { return 1.0f / float(t * 7 % 61 + 1); };
      const Status status = trial.run([&](ShimBlock& b) {
        const auto room = shared_array<float>(b, kReduceRoom);
        b.store(out.data(), b.thread(), block_sum(b, room, value(b.thread())));
        b.store(largest.data(), b.thread(), block_reduce(b, room, value(b.thread()), -INFINITY, TakeLarger{}));
      });
      ASSERT_TRUE(status.ok()) << status.message();
      // The tree, by hand.
      const auto tree = [](std::vector<float> v) {
        for (size_t n = 16; n > 0; n /= 2)
          for (size_t i = 0; i < n; ++i) v[i] = v[i] + v[i + n];
        return v[0];
      };
      std::vector<float> warps(32);
      for (uint32_t w = 0; w < threads / 32; ++w) {
        std::vector<float> lanes(32);
        for (uint32_t l = 0; l < 32; ++l) lanes[l] = value(w * 32 + l);
        warps[w] = tree(lanes);
      }
      for (uint32_t t = 0; t < threads; ++t) {
        EXPECT_EQ(out[t], tree(warps));
        EXPECT_EQ(largest[t], 1.0f);
      }
    }
}

TEST(BlockShim, Shuffles) {
  std::vector<uint32_t> out(32 * 5);
  Trial trial(1, 32, {all_of(out)});
  const Status status = trial.run([&](ShimBlock& b) {
    const uint32_t l = b.lane();
    b.store(out.data(), l, b.shuffle(l * 3, 40));
    b.store(out.data(), 32 + l, b.shuffle_xor(l, 5));
    b.store(out.data(), 64 + l, b.shuffle_down(l, 4));
    b.store(out.data(), 96 + l, b.ballot(l % 3 == 0));
    // Two parts of a warp on ways of their own.
    if (l < 8)
      b.store(out.data(), 128 + l, b.shuffle(l, 7 - l, 0x000000ff));
    else
      b.store(out.data(), 128 + l, b.shuffle(l, 8, 0xffffff00));
  });
  ASSERT_TRUE(status.ok()) << status.message();
  for (uint32_t l = 0; l < 32; ++l) {
    EXPECT_EQ(out[l], 24u);
    EXPECT_EQ(out[32 + l], l ^ 5);
    EXPECT_EQ(out[64 + l], l < 28 ? l + 4 : l);
    EXPECT_EQ(out[96 + l], 0x49249249u);
    EXPECT_EQ(out[128 + l], l < 8 ? 7 - l : 8);
  }
}

TEST(BlockShim, AtomicsAddUpInAnyOrder) {
  std::vector<uint32_t> out(3), per_block(4);
  Trial trial(4, 128, {all_of(out), all_of(per_block)}, 9);
  const Status status = trial.run([&](ShimBlock& b) {
    const auto count = shared_array<uint32_t>(b, 1);
    if (b.thread() == 0) b.store(count, 0, 0);
    b.sync();
    b.atomic_add(count, 0, 2u);
    b.atomic_add(out.data(), 0, 1u);
    b.atomic_max(out.data(), 1, b.thread());
    b.atomic_compare_swap(out.data(), 2, 0u, 77u);
    b.fence();
    b.sync();
    if (b.thread() == 0) b.store(per_block.data(), b.block_x(), b.load(count, 0));
  });
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(out, (std::vector<uint32_t>{512, 127, 77}));
  EXPECT_EQ(per_block, (std::vector<uint32_t>(4, 256)));
}

TEST(BlockShim, FindsStoresOutOfBounds) {
  std::vector<float> out(100), other(100);
  Trial trial(2, 64, {all_of(out), all_of(other)});
  EXPECT_THAT(trial.finding([&](ShimBlock& b) { b.store(out.data(), b.block_x() * 64 + b.thread(), 1.0f); }),
              AllOf(HasSubstr("kernel probe: block (1, 0, 0): thread 36 writes 4 bytes at element 100 of"),
                    HasSubstr("beyond the allocation of 400 bytes"), HasSubstr("block_test.cc:")));
  EXPECT_THAT(trial.finding([&](ShimBlock& b) { (void)b.load(out.data(), uint64_t(b.thread()) - 1); }),
              HasSubstr("thread 0 reads 4 bytes at element -1 of"));
  // Into another allocation.
  const uint64_t apart = uint64_t(other.data() - out.data());
  EXPECT_THAT(trial.finding([&](ShimBlock& b) { b.store(out.data(), apart + b.thread(), 1.0f); }),
              HasSubstr("beyond the allocation of 400 bytes"));
  float mine = 0;
  EXPECT_THAT(trial.finding([&](ShimBlock& b) { (void)b.load(&mine, 0); }), HasSubstr("which is in no allocation"));
  EXPECT_THAT(trial.finding([&](ShimBlock& b) { (void)b.load(static_cast<float*>(nullptr), 0); }),
              HasSubstr("of 0x0, which is in no allocation"));
  EXPECT_THAT(trial.finding([&](ShimBlock& b) { (void)b.load16(out.data(), b.thread()); }),
              AllOf(HasSubstr("thread 1 reads 16 bytes at 0x"), HasSubstr("which is no multiple of 16")));
}

TEST(BlockShim, FindsSharedIndicesOutOfBounds) {
  Trial trial(1, 64);
  EXPECT_THAT(trial.finding([](ShimBlock& b) { b.store(shared_array<float>(b, 63), b.thread(), 1.0f); }),
              HasSubstr("thread 63 writes 4 bytes at element 63 of a shared array of 63"));
  EXPECT_THAT(trial.finding([](ShimBlock& b) { b.store16(shared_array<float>(b, 64), b.thread(), {}); }),
              HasSubstr("thread 1 writes 16 bytes at shared byte 4, which is no multiple of 16"));
  EXPECT_THAT(trial.finding([](ShimBlock& b) { shared_array<float>(b, 1025); }),
              HasSubstr("takes 4100 bytes of static shared memory, 0 of 4096 are taken"));
  EXPECT_THAT(trial.finding([](ShimBlock& b) { dynamic_array<float>(b, 1); }), HasSubstr("of dynamic shared memory"));
}

TEST(BlockShim, FindsARemovedBarrier) {
  const auto program = [](bool barrier) {
    return [barrier](ShimBlock& b) {
      const auto s = shared_array<uint32_t>(b, 64);
      b.store(s, b.thread(), b.thread());
      if (barrier) b.sync();
      (void)b.load(s, b.thread() ^ 1);
    };
  };
  Trial trial(2, 64);
  EXPECT_TRUE(trial.run(program(true)).ok());
  // In thread order the first read is of what nobody has written.
  EXPECT_THAT(trial.finding(program(false)), HasSubstr("thread 0 reads shared byte 4 at block_test.cc:"));
  const auto write_behind_read = [](ShimBlock& b) {
    const auto s = shared_array<uint32_t>(b, 64);
    b.store(s, b.thread(), b.thread());
    b.sync();
    (void)b.load(s, 63 - b.thread());
    b.store(s, b.thread(), 1);  // no barrier behind the reads
  };
  EXPECT_THAT(trial.finding(write_behind_read),
              AllOf(HasSubstr("shared byte"), HasSubstr(" at block_test.cc:"), HasSubstr("with no barrier between")));
  const auto all_write = [](ShimBlock& b) { b.store(shared_array<float>(b, 1), 0, 1.0f); };
  EXPECT_THAT(trial.finding(all_write), AllOf(HasSubstr("thread 1 writes shared byte 0 at block_test.cc:"),
                                              HasSubstr("which thread 0 writes at block_test.cc:")));
}

TEST(BlockShim, KnowsOrderInsideAWarp) {
  Trial trial(1, 64);
  const auto program = [](uint32_t distance, uint32_t mask, bool shuffles) {
    return [=](ShimBlock& b) {
      const auto s = shared_array<uint32_t>(b, 64);
      b.store(s, b.thread(), b.thread());
      if (shuffles)
        b.shuffle_xor(1u, 1);
      else if (mask >> b.lane() & 1)
        b.sync_warp(mask);
      (void)b.load(s, b.thread() ^ distance);
    };
  };
  EXPECT_TRUE(trial.run(program(1, kAllLanes, false)).ok());
  trial.launch.seed = 4;
  EXPECT_TRUE(trial.run(program(16, kAllLanes, false)).ok());
  EXPECT_FALSE(trial.run(program(32, kAllLanes, false)).ok()) << "of another warp";
  EXPECT_FALSE(trial.run(program(1, 0x0000ffff, false)).ok()) << "half a warp did not take part";
  EXPECT_FALSE(trial.run(program(1, 0, true)).ok()) << "shuffles do not order memory";
}

TEST(BlockShim, FindsDivergentBarriers) {
  Trial trial(1, 64);
  const auto some = [](ShimBlock& b) {
    if (b.thread() < 40) b.sync();
  };
  EXPECT_THAT(trial.finding(some), AllOf(HasSubstr("thread 0 waits at the barrier of block_test.cc:"),
                                         HasSubstr("but thread 40 has ended")));
  const auto two = [](ShimBlock& b) {
    if (b.thread() < 40)
      b.sync();
    else
      b.sync();
  };
  EXPECT_THAT(trial.finding(two), AllOf(HasSubstr("thread 0 waits at the barrier of block_test.cc:"),
                                        HasSubstr("but thread 40 waits at the barrier of block_test.cc:")));
  const auto one_lane_less = [](ShimBlock& b) {
    if (b.lane() != 3) b.shuffle_xor(1u, 1);
    b.sync();
  };
  EXPECT_THAT(trial.finding(one_lane_less),
              AllOf(HasSubstr("thread 0 waits at shuffle of block_test.cc:"),
                    HasSubstr("for lanes 0xffffffff, but thread 3 waits at the barrier of block_test.cc:")));
}

TEST(BlockShim, FindsMasksThatDiffer) {
  Trial trial(1, 64);
  const auto overlapping = [](ShimBlock& b) { b.ballot(true, b.lane() < 16 ? 0x0001ffffu : 0xffff0000u); };
  EXPECT_THAT(trial.finding(overlapping), AllOf(HasSubstr("thread 0 waits at ballot of block_test.cc:"),
                                                HasSubstr("for lanes 0x0001ffff, but thread 16 ")));
  EXPECT_THAT(trial.finding([](ShimBlock& b) { b.sync_warp(0x7fffffff); }),
              HasSubstr("thread 31 is not in the mask 0x7fffffff of its sync_warp"));
  const auto from_outside = [](ShimBlock& b) {
    if (b.lane() < 16) b.shuffle(1u, 20, 0xffff);
  };
  EXPECT_THAT(trial.finding(from_outside), HasSubstr("shuffles from lane 20, which is not in the mask 0x0000ffff"));
}

TEST(BlockShim, FindsReadsOfWhatNobodyWrote) {
  Trial trial(2, 32);
  // The first block's bytes are not the second's.
  const auto stale = [](ShimBlock& b) {
    const auto s = shared_array<uint32_t>(b, 32);
    if (b.block_x() == 0) b.store(s, b.thread(), 1);
    if (b.block_x() == 1) (void)b.load(s, b.thread());
  };
  EXPECT_THAT(trial.finding(stale),
              AllOf(HasSubstr("block (1, 0, 0): thread 0 reads shared byte 0"), HasSubstr("which nobody has written")));
}

TEST(BlockShim, CopiesArriveWhenTheyAreWaitedFor) {
  alignas(16) static float in[256], out[256];
  std::iota(in, in + 256, 1.0f);
  Trial trial(1, 32, {{in, sizeof in}, {out, sizeof out}});
  enum Bug { none, no_wait, too_few, no_barrier, no_commit };
  const auto program = [](Bug bug) {
    return [bug](ShimBlock& b) {
      const auto s = shared_array<float>(b, 256);
      b.copy_async16(s, b.thread() * 4, in, b.thread() * 4);
      b.commit_async();
      b.copy_async16(s, 128 + b.thread() * 4, in, 128 + b.thread() * 4, b.thread() % 2 == 0);
      if (bug != no_commit) b.commit_async();
      if (bug != no_wait) b.wait_async(Groups<1>{});
      if (bug != no_barrier) b.sync();
      for (uint32_t i = 0; i < 4; ++i) b.store(out, b.thread() * 4 + i, b.load(s, (127 - b.thread() * 4) - i));
      if (bug != too_few) b.wait_async(Groups<0>{});
      b.sync();
      for (uint32_t i = 0; i < 4; ++i)
        b.store(out, 128 + b.thread() * 4 + i, b.load(s, 128 + (127 - b.thread() * 4) - i));
    };
  };
  for (const uint64_t seed : {0, 1, 2}) {
    trial.launch.seed = seed;
    const Status status = trial.run(program(none));
    ASSERT_TRUE(status.ok()) << status.message();
    for (uint32_t i = 0; i < 128; ++i) {
      EXPECT_EQ(out[i], in[127 - i]);
      EXPECT_EQ(out[128 + i], (127 - i) / 4 % 2 == 0 ? in[255 - i] : 0.0f);
    }
  }
  EXPECT_THAT(trial.finding(program(no_wait)),
              AllOf(HasSubstr("while the cp.async of thread"), HasSubstr(" at block_test.cc:")));
  EXPECT_THAT(trial.finding(program(too_few)), HasSubstr("while the cp.async of thread"));
  EXPECT_THAT(trial.finding(program(no_commit)), HasSubstr("while the cp.async of thread"));
  EXPECT_THAT(trial.finding(program(no_barrier)), HasSubstr("reads shared byte"));
}

TEST(BlockShim, RefusesLaunchesThatADeviceRefuses) {
  const auto nothing = [](ShimBlock&) {};
  Trial trial(1, 32);
  trial.launch.block = {33, 1, 1};
  EXPECT_THAT(trial.run(nothing).message(), HasSubstr("whole warps"));
  trial.launch.block = {32, 2, 1};
  EXPECT_THAT(trial.run(nothing).message(), HasSubstr("one dimension"));
  trial.launch.block = {2048, 1, 1};
  EXPECT_THAT(trial.run(nothing).message(), HasSubstr("at most 1024"));
  trial.launch.block = {32, 1, 1};
  trial.launch.grid = {0, 1, 1};
  EXPECT_THAT(trial.run(nothing).message(), HasSubstr("a grid of"));
  trial.launch.grid = {1, 1, 1};
  trial.launch.dynamic_shared = 300000;
  EXPECT_THAT(trial.run(nothing).message(), HasSubstr("shared memory"));
}

TEST(BlockShim, OrdersDifferBySeed) {
  // Who comes last wins: a program like that is wrong, and its results say so.
  std::vector<uint32_t> last(1);
  std::vector<uint32_t> seen;
  for (uint64_t seed = 0; seed < 6; ++seed) {
    Trial trial(8, 64, {all_of(last)}, seed);
    ASSERT_TRUE(trial.run([&](ShimBlock& b) { b.store(last.data(), 0, b.block_x() * 64 + b.thread()); }).ok());
    seen.push_back(last[0]);
    ASSERT_TRUE(trial.run([&](ShimBlock& b) { b.store(last.data(), 0, b.block_x() * 64 + b.thread()); }).ok());
    EXPECT_EQ(last[0], seen.back()) << "the same seed, the same order";
  }
  EXPECT_EQ(seen[0], 511u);
  EXPECT_THAT(seen, testing::Contains(testing::Ne(511u)));
}

}  // namespace
}  // namespace vibee
