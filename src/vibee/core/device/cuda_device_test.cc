// SPDX-License-Identifier: Apache-2.0
#include "vibee/core/device/cuda_device.h"

#include <gtest/gtest.h>

#include <thread>

#include "vibee/core/device/cuda_graph.h"
#include "vibee/core/device/device_pool.h"
#include "vibee/core/device/kernel_times.h"
#include "vibee/core/device/pinned_ring.h"
#include "vibee/kit/trial_device.h"

namespace vibee {
namespace {

using Problems = std::vector<std::string>;

TEST(CudaDevice, SaysWhatItIs) {
  TrialDevice trial({.devices = 2, .name = "NVIDIA H100 80GB HBM3 MIG 1g.10gb"});
  const auto infos = cuda_devices(*trial.driver);
  ASSERT_TRUE(infos.ok()) << infos.status().message();
  ASSERT_EQ(infos->size(), 2u);
  const DeviceInfo& info = (*infos)[1];
  EXPECT_EQ(info.ordinal, 1);
  EXPECT_EQ(info.uuid, "GPU-10111213-1415-1617-1819-1a1b1c1d1e1f");
  EXPECT_EQ(info.pci, "0000:02:00.0");
  EXPECT_EQ(info.capability(), "9.0");
  EXPECT_TRUE(info.slice());
  EXPECT_EQ(info.memory_bytes, size_t(64) << 20);
  EXPECT_EQ(info.clock_ghz, 1.0);
  EXPECT_EQ(CudaDevice::open(trial.driver, 2).status().code(), Code::not_found);
  EXPECT_EQ(CudaDevice::open(trial.driver, -1).status().code(), Code::not_found);
  EXPECT_EQ(trial.host.finish(), Problems{});
}

/// Allocates, copies in, launches, records and replays, updates, copies out, and says what came out.
Result<float> small_program(const TrialDevice& trial) {
  VIBEE_ASSIGN(const auto device, CudaDevice::open(trial.driver, 0));
  {
    VIBEE_ASSIGN(const auto pool, DevicePool::create(device, 4096));
    VIBEE_ASSIGN(DeviceBlock block, pool->take(1000));
    VIBEE_ASSIGN(CudaStream stream, CudaStream::create(device));
    VIBEE_ASSIGN(CudaStream beside, CudaStream::create(device));
    VIBEE_ASSIGN(CudaEvent done, CudaEvent::create(device));
    VIBEE_ASSIGN(PinnedRing ring, PinnedRing::create(device, 128, 2));
    const auto fatbin = trial_fatbin({80, 90});
    VIBEE_ASSIGN(const auto module, CudaModule::load(device, {"trial.cu", fatbin}));
    VIBEE_ASSIGN(CudaKernel add, module->kernel("add"));
    VIBEE_ASSIGN(KernelTimes times, KernelTimes::create(device, 2));
    std::vector<float> values(250, 1);
    VIBEE_TRY(ring.copy_in(stream, block.address(), std::as_bytes(std::span(values))));
    AddArgs args{block.address(), 250, 1};
    void* pointers[] = {&args};
    const LaunchShape shape{{1, 1, 1}, 32, 50000};
    VIBEE_TRY(times.begin(stream));
    VIBEE_TRY(add.launch(stream, shape, pointers));
    VIBEE_TRY(times.mark(stream, 7));
    const auto record = [&]() -> Status {
      VIBEE_TRY(add.launch(stream, shape, pointers));
      return add.launch(stream, shape, pointers);
    };
    VIBEE_ASSIGN(CudaGraph graph, CudaGraph::capture(stream, record));
    VIBEE_TRY(graph.launch(stream));
    args.add = 10;
    VIBEE_TRY(graph.update(stream, record));
    VIBEE_TRY(graph.launch(stream));
    VIBEE_TRY(done.record(stream));
    VIBEE_TRY(beside.wait(done));
    VIBEE_TRY(ring.copy_out(beside, std::as_writable_bytes(std::span(values)), block.address()));
    VIBEE_ASSIGN(const auto pieces, times.collect());
    VIBEE_TRY(beside.synchronize());
    VIBEE_TRY(stream.synchronize());
    if (pieces.size() != 1 || pieces[0].call != 7) return error(Code::invalid, "no times");
    for (float v : values)
      if (v != values[0]) return error(Code::invalid, "values differ");
    block = {}, graph = {}, ring = {}, stream = {}, beside = {}, done = {}, add = {}, times = {};
    VIBEE_TRY(device->release_error());
    return values[0];
  }
}

TEST(CudaDevice, RunsASmallProgramInAnyOrderThatEventsLeaveFree) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    TrialDevice trial({.seed = seed});
    const auto out = small_program(trial);
    ASSERT_TRUE(out.ok()) << out.status().message();
    EXPECT_EQ(*out, 1 + 1 + 2 + 20);
    EXPECT_EQ(trial.host.finish(), Problems{}) << seed;
  }
}

TEST(CudaDevice, EveryCallMayFail) {
  using Fault = HostCudaDriver::Fault;
  for (CudaResult result : {CudaResult::invalid_handle, CudaResult::out_of_memory, CudaResult::illegal_address})
    for (Fault fault : {Fault::refused, Fault::late}) {
      uint64_t n = 1, unsaid = 0;
      for (;; ++n) {
        TrialDevice trial({.seed = n});
        trial.host.fail(n, result, fault);
        auto out = small_program(trial);
        const std::string failed = trial.host.failed();
        EXPECT_EQ(trial.host.finish(), Problems{}) << "call " << n << ", " << failed;
        if (failed.empty()) {
          EXPECT_TRUE(out.ok()) << out.status().message();
          break;
        }
        if (out.ok()) {
          // What is given back by the last owners, behind the program's last word.
          EXPECT_TRUE(failed == "cuDevicePrimaryCtxRelease_v2" || failed == "cuMemFree_v2" ||
                      failed == "cuModuleUnload" || failed == "cuCtxPushCurrent_v2" || failed == "cuCtxPopCurrent_v2")
              << failed;
          ++unsaid;
        } else {
          EXPECT_NE(out.status().message().find(failed), std::string::npos) << out.status().message();
          EXPECT_EQ(out.status().message().find('\n'), std::string::npos);
        }
      }
      EXPECT_GT(n, 150u);
      EXPECT_LE(unsaid, 7u);  // a context, a pool and a module; push, call and pop of the last two
      TrialDevice next;
      EXPECT_TRUE(small_program(next).ok());
    }
}

TEST(CudaDevice, ALostDeviceIsNotAskedAgain) {
  TrialDevice trial;
  auto device = made(trial.open());
  auto stream = made(CudaStream::create(device));
  trial.host.fail(1, CudaResult::illegal_address, HostCudaDriver::Fault::refused, "cuStreamSynchronize");
  const Status first = stream.synchronize();
  EXPECT_EQ(first.code(), Code::io);
  EXPECT_NE(first.message().find("cuda device 0 (host device, 9.0) is lost: cuStreamSynchronize: "
                                 "CUDA_ERROR_ILLEGAL_ADDRESS (text of the host's driver); it is not used any more, "
                                 "restart the process (driver for CUDA 13.0)"),
            std::string::npos)
      << first.message();
  EXPECT_TRUE(device->lost());
  const uint64_t calls = trial.host.calls();
  EXPECT_EQ(stream.synchronize().message(), first.message());
  EXPECT_EQ(device->memory().status().message(), first.message());
  EXPECT_EQ(DevicePool::create(device, 100).status().message(), first.message());
  EXPECT_EQ(trial.host.calls(), calls);
  stream = {}, device = nullptr;
  EXPECT_EQ(trial.host.finish(), Problems{});
}

TEST(CudaDevice, AKernelOutOfBoundsLosesTheDevice) {
  TrialDevice trial;
  {
    auto device = made(trial.open());
    auto pool = made(DevicePool::create(device, 100));
    auto stream = made(CudaStream::create(device));
    const auto fatbin = trial_fatbin({90});
    auto module = made(CudaModule::load(device, {"trial.cu", fatbin}));
    auto add = made(module->kernel("add"));
    AddArgs args{pool->address(), 26, 1};
    void* pointers[] = {&args};
    EXPECT_TRUE(add.launch(stream, {}, pointers).ok());
    EXPECT_FALSE(stream.synchronize().ok());
    EXPECT_TRUE(device->lost());
  }
  EXPECT_EQ(trial.host.finish(), Problems{"kernel add: 26 floats are outside"});
}

TEST(CudaStream, WithoutItsEventAnOrderIsWrongSometimes) {
  // add, then twice on another stream: 2 * (1 + 1); the other way round 1 * 2 + 1.
  const auto run = [](uint64_t seed, bool ordered) {
    TrialDevice trial({.seed = seed});
    float out = 0;
    {
      auto device = made(trial.open());
      auto pool = made(DevicePool::create(device, 4));
      auto one = made(CudaStream::create(device)), two = made(CudaStream::create(device));
      auto event = made(CudaEvent::create(device));
      auto ring = made(PinnedRing::create(device, 4, 1));
      const auto fatbin = trial_fatbin({90});
      auto module = made(CudaModule::load(device, {"trial.cu", fatbin}));
      auto add = made(module->kernel("add")), twice = made(module->kernel("twice"));
      const float in = 1;
      EXPECT_TRUE(ring.copy_in(one, pool->address(), std::as_bytes(std::span(&in, 1))).ok());
      EXPECT_TRUE(one.synchronize().ok());
      AddArgs args{pool->address(), 1, 1};
      void* pointers[] = {&args};
      EXPECT_TRUE(add.launch(one, {}, pointers).ok());
      EXPECT_TRUE(event.record(one).ok());
      if (ordered) {
        EXPECT_TRUE(two.wait(event).ok());
      }
      EXPECT_TRUE(twice.launch(two, {}, pointers).ok());
      args.add = 100;  // arguments were taken when it was launched
      EXPECT_TRUE(two.synchronize().ok());
      EXPECT_TRUE(one.synchronize().ok());
      EXPECT_TRUE(ring.copy_out(one, std::as_writable_bytes(std::span(&out, 1)), pool->address()).ok());
    }
    EXPECT_EQ(trial.host.finish(), Problems{});
    return out;
  };
  int wrong = 0;
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    EXPECT_EQ(run(seed, true), 4);
    wrong += run(seed, false) != 4;
  }
  EXPECT_GT(wrong, 5);
  EXPECT_LT(wrong, 35);
}

TEST(CudaDevice, ThreadsShareOne) {
  TrialDevice trial({.seed = 9});
  {
    auto device = made(trial.open());
    auto pool = made(DevicePool::create(device, 100000));
    const auto work = [&](int thread) {
      auto stream = made(CudaStream::create(device));
      auto ring = made(PinnedRing::create(device, 64, 2));
      for (int i = 0; i < 50; ++i) {
        auto block = made(pool->take(1000));
        std::vector<int> in(250, 1000 * thread + i), out(250);
        EXPECT_TRUE(ring.copy_in(stream, block.address(), std::as_bytes(std::span(in))).ok());
        EXPECT_TRUE(ring.copy_out(stream, std::as_writable_bytes(std::span(out)), block.address()).ok());
        EXPECT_EQ(in, out);
      }
    };
    std::vector<std::thread> threads;
    threads.reserve(4);
    for (int t = 0; t < 4; ++t) threads.emplace_back(work, t);
    for (std::thread& t : threads) t.join();
    EXPECT_EQ(pool->used(), 0u);
    EXPECT_TRUE(device->release_error().ok());
  }
  EXPECT_EQ(trial.host.finish(), Problems{});
}

TEST(CudaStream, AsksWithoutWaiting) {
  TrialDevice trial;
  {
    auto device = made(trial.open());
    auto stream = made(CudaStream::create(device));
    auto begin = made(CudaEvent::create(device, true)), end = made(CudaEvent::create(device, true));
    EXPECT_TRUE(*stream.done() && *begin.done());
    EXPECT_TRUE(begin.record(stream).ok() && end.record(stream).ok());
    EXPECT_FALSE(*end.done());
    while (!*end.done()) {
    }
    EXPECT_TRUE(*stream.done());
    EXPECT_NEAR(*seconds_between(*device, begin, end), 1e-6, 1e-9);
  }
  EXPECT_EQ(trial.host.finish(), Problems{});
}

}  // namespace
}  // namespace vibee
