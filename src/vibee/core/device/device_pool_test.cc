// SPDX-License-Identifier: Apache-2.0
#include "vibee/core/device/device_pool.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "vibee/core/device/pinned_ring.h"
#include "vibee/kit/trial_device.h"

namespace vibee {
namespace {

using Problems = std::vector<std::string>;

TEST(DevicePool, TakesWhatItSays) {
  TrialDevice trial({.memory = 10000});
  {
    auto device = made(trial.open());
    auto pool = made(DevicePool::create(device, 7001));
    EXPECT_EQ(made(device->memory()).free, 2999u);
    const uint64_t allocations = trial.host.calls_of("cuMemAlloc_v2");
    {
      auto a = made(pool->take(1)), b = made(pool->take(257)), none = made(pool->take(0));
      EXPECT_EQ(none.address(), 0u);
      EXPECT_EQ(a.address() % 256, 0u);
      EXPECT_EQ(b.address(), a.address() + 256);
      EXPECT_EQ(pool->used(), 256u + 512u);
      auto rest = made(pool->take(7001 - 768));  // to the last byte
      EXPECT_EQ(pool->used(), 7001u);
      EXPECT_EQ(pool->take(1).status().message(),
                "cuda device 0 (host device, 9.0): 1 bytes are wanted of a pool of 7001, of which 7001 are used; the "
                "largest free range has 0");
      EXPECT_EQ(made(device->memory()).free, 2999u);
    }
    EXPECT_EQ(pool->used(), 0u);
    EXPECT_EQ(pool->peak(), 7001u);
    EXPECT_EQ(made(pool->take(7001)).address(), pool->address());  // ranges have grown together
    EXPECT_EQ(trial.host.calls_of("cuMemAlloc_v2"), allocations);

    const Status large = DevicePool::create(device, 3000).take_status();
    EXPECT_EQ(large.code(), Code::no_memory);
    EXPECT_EQ(large.message(),
              "cuda device 0 (host device, 9.0): a pool of 3000 bytes is wanted, 2999 of 10000 bytes are free");
    EXPECT_EQ(made(DevicePool::create(device, 0))->size(), 0u);
    // Another process was faster than the question.
    trial.host.fail(1, CudaResult::out_of_memory, HostCudaDriver::Fault::refused, "cuMemAlloc_v2");
    EXPECT_EQ(
        DevicePool::create(device, 2999).status().message(),
        "cuda device 0 (host device, 9.0): cuMemAlloc_v2, a pool of 2999 bytes: CUDA_ERROR_OUT_OF_MEMORY (text of "
        "the host's driver); 2999 of 10000 bytes of the device are free (driver for CUDA 13.0)");
  }
  EXPECT_EQ(trial.host.finish(), Problems{});
}

TEST(DevicePool, BlocksNeverOverlapAndAllComesBack) {
  TrialDevice trial;
  {
    auto device = made(trial.open());
    auto pool = made(DevicePool::create(device, 100000));
    std::mt19937 random(7);
    std::vector<DeviceBlock> blocks;
    uint64_t refused = 0;
    for (int i = 0; i < 4000; ++i) {
      if (!blocks.empty() && random() % 2) {
        std::swap(blocks[random() % blocks.size()], blocks.back());
        blocks.pop_back();
      } else {
        auto block = pool->take(random() % 9000);
        if (block.ok())
          blocks.push_back(std::move(*block));
        else
          ++refused;
      }
      uint64_t used = 0;
      std::map<CudaAddress, uint64_t> ranges;
      for (const DeviceBlock& b : blocks)
        if (b.bytes()) ranges[b.address()] = b.bytes(), used += DevicePool::taken(b.bytes());
      CudaAddress end = pool->address();
      for (const auto& [address, bytes] : ranges) {
        ASSERT_GE(address, end);
        ASSERT_EQ((address - pool->address()) % DevicePool::kAlignment, 0u);
        end = address + bytes;
      }
      ASSERT_LE(end, pool->address() + pool->size());
      ASSERT_LE(pool->used(), used);
      ASSERT_GE(pool->used() + 2 * DevicePool::kAlignment, used);  // the last range may be shorter
    }
    EXPECT_GT(refused, 10u);
    blocks.clear();
    EXPECT_EQ(pool->used(), 0u);
    EXPECT_TRUE(pool->take(100000).ok());
  }
  EXPECT_EQ(trial.host.finish(), Problems{});
}

TEST(DevicePool, LivesAsLongAsABlock) {
  TrialDevice trial;
  {
    DeviceBlock block;
    {
      auto device = made(trial.open());
      block = made(made(DevicePool::create(device, 512))->take(512));
    }
    EXPECT_NE(block.address(), 0u);
  }
  EXPECT_EQ(trial.host.finish(), Problems{});
}

TEST(PinnedRing, CopiesWhatIsLargerThanItself) {
  std::mt19937 random(3);
  for (size_t piece : {1, 7, 64})
    for (size_t pieces : {1, 2, 3})
      for (size_t bytes : {0, 1, 6, 7, 8, 13, 14, 63, 64, 65, 127, 128, 129, 191, 192, 193, 1009}) {
        TrialDevice trial({.seed = random()});
        {
          auto device = made(trial.open());
          auto pool = made(DevicePool::create(device, 2048));
          auto in = made(CudaStream::create(device)), out = made(CudaStream::create(device));
          auto ring = made(PinnedRing::create(device, piece, pieces));
          auto there = made(CudaEvent::create(device));
          std::vector<std::byte> source(bytes), target(bytes);
          for (std::byte& b : source) b = std::byte(random());
          const auto expected = source;
          ASSERT_TRUE(ring.copy_in(in, pool->address() + 5, source).ok());
          std::fill(source.begin(), source.end(), std::byte{0});  // it has been read
          ASSERT_TRUE(there.record(in).ok());
          ASSERT_TRUE(out.wait(there).ok());
          ASSERT_TRUE(ring.copy_out(out, target, pool->address() + 5).ok());
          EXPECT_EQ(target, expected) << piece << " " << pieces << " " << bytes;
        }
        EXPECT_EQ(trial.host.finish(), Problems{});
      }
}

TEST(PinnedRing, RefusesWhatCannotBe) {
  TrialDevice trial;
  {
    auto device = made(trial.open());
    EXPECT_EQ(PinnedRing::create(device, 0, 2).status().code(), Code::invalid);
    EXPECT_EQ(PinnedRing::create(device, 2, 0).status().code(), Code::invalid);
    EXPECT_EQ(PinnedRing::create(device, SIZE_MAX / 2, 3).status().code(), Code::invalid);
    trial.host.fail(1, CudaResult::out_of_memory, HostCudaDriver::Fault::refused, "cuMemHostAlloc");
    const Status s = PinnedRing::create(device, 10, 3).take_status();
    EXPECT_EQ(s.code(), Code::no_memory);
    EXPECT_NE(s.message().find("30 bytes of pinned host memory"), std::string::npos) << s.message();
  }
  EXPECT_EQ(trial.host.finish(), Problems{});
}

}  // namespace
}  // namespace vibee
