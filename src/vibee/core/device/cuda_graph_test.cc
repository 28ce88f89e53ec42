// SPDX-License-Identifier: Apache-2.0
#include "vibee/core/device/cuda_graph.h"

#include <gtest/gtest.h>

#include "vibee/core/device/cuda_module.h"
#include "vibee/core/device/device_pool.h"
#include "vibee/core/device/image_architectures.h"
#include "vibee/core/device/kernel_times.h"
#include "vibee/core/device/pinned_ring.h"
#include "vibee/kit/trial_device.h"

namespace vibee {
namespace {

using Problems = std::vector<std::string>;

/// A float on a device, and the kernels.
struct Machine {
  explicit Machine(TrialDevice& trial)
      : device(made(trial.open())),
        pool(made(DevicePool::create(device, 4))),
        stream(made(CudaStream::create(device))),
        beside(made(CudaStream::create(device))),
        fork(made(CudaEvent::create(device))),
        join(made(CudaEvent::create(device))),
        ring(made(PinnedRing::create(device, 4, 1))),
        module(made(CudaModule::load(device, {"trial.cu", fatbin}))),
        add(made(module->kernel("add"))),
        twice(made(module->kernel("twice"))) {}
  void set(float value) {
    EXPECT_TRUE(ring.copy_in(stream, pool->address(), std::as_bytes(std::span(&value, 1))).ok());
  }
  float get() {
    float value = 0;
    EXPECT_TRUE(ring.copy_out(stream, std::as_writable_bytes(std::span(&value, 1)), pool->address()).ok());
    return value;
  }
  Status run(CudaKernel& kernel, const CudaStream& on, float by) {
    AddArgs args{pool->address(), 1, by};
    void* pointers[] = {&args};
    return kernel.launch(on, {}, pointers);
  }

  std::vector<std::byte> fatbin = trial_fatbin({90});
  std::shared_ptr<CudaDevice> device;
  std::shared_ptr<DevicePool> pool;
  CudaStream stream, beside;
  CudaEvent fork, join;
  PinnedRing ring;
  std::shared_ptr<CudaModule> module;
  CudaKernel add, twice;
};

TEST(CudaGraph, ReplaysWhatWasRecordedAndTakesOtherArguments) {
  TrialDevice trial({.seed = 5});
  {
    Machine m(trial);
    m.set(1);
    float by = 3;
    const auto record = [&]() -> Status {
      VIBEE_TRY(m.run(m.add, m.stream, by));
      return m.run(m.twice, m.stream, 0);
    };
    CudaGraph graph = made(CudaGraph::capture(m.stream, record));
    EXPECT_EQ(graph.nodes(), 2u);
    EXPECT_EQ(m.get(), 1);  // recording runs nothing
    EXPECT_TRUE(graph.launch(m.stream).ok());
    EXPECT_TRUE(graph.launch(m.stream).ok());
    by = 100;
    EXPECT_TRUE(graph.update(m.stream, record).ok());
    EXPECT_EQ(graph.rebuilds(), 0u);
    EXPECT_EQ(m.get(), ((1 + 3) * 2 + 3) * 2);  // launches before the update keep theirs
    EXPECT_TRUE(graph.launch(m.stream).ok());
    EXPECT_EQ(m.get(), (22 + 100) * 2);

    // The same number of nodes in another order, then another number.
    EXPECT_TRUE(graph
                    .update(m.stream,
                            [&]() -> Status {
                              VIBEE_TRY(m.run(m.twice, m.stream, 0));
                              return m.run(m.add, m.stream, 1);
                            })
                    .ok());
    EXPECT_EQ(graph.rebuilds(), 1u);
    EXPECT_TRUE(graph.update(m.stream, [&] { return m.run(m.add, m.stream, 1); }).ok());
    EXPECT_EQ(graph.rebuilds(), 2u);
    EXPECT_EQ(graph.nodes(), 1u);
    EXPECT_TRUE(graph.launch(m.stream).ok());
    EXPECT_EQ(m.get(), 245);
    CudaGraph empty = made(CudaGraph::capture(m.stream, [] { return Status(); }));
    EXPECT_EQ(empty.nodes(), 0u);
    EXPECT_TRUE(empty.launch(m.stream).ok());
    EXPECT_EQ(m.get(), 245);
  }
  EXPECT_EQ(trial.host.finish(), Problems{});
}

TEST(CudaGraph, StreamsJoinByEvents) {
  int wrong = 0;
  for (uint64_t seed = 1; seed <= 40; ++seed)
    for (bool ordered : {true, false}) {
      TrialDevice trial({.seed = seed});
      {
        Machine m(trial);
        m.set(1);
        CudaGraph graph = made(CudaGraph::capture(m.stream, [&]() -> Status {
          VIBEE_TRY(m.fork.record(m.stream));
          VIBEE_TRY(m.beside.wait(m.fork));
          VIBEE_TRY(m.run(m.add, m.beside, 1));
          VIBEE_TRY(m.join.record(m.beside));
          if (ordered) VIBEE_TRY(m.stream.wait(m.join));
          VIBEE_TRY(m.run(m.twice, m.stream, 0));
          return m.stream.wait(m.join);
        }));
        EXPECT_TRUE(graph.launch(m.stream).ok());
        const float out = m.get();
        if (ordered) {
          EXPECT_EQ(out, 4);
        }
        wrong += out != 4;
        // A stream that does not come back.
        EXPECT_FALSE(CudaGraph::capture(m.stream, [&]() -> Status {
                       VIBEE_TRY(m.fork.record(m.stream));
                       VIBEE_TRY(m.beside.wait(m.fork));
                       return m.run(m.add, m.beside, 1);
                     }).ok());
        EXPECT_EQ(m.get(), out);  // both take work again
        EXPECT_TRUE(m.run(m.add, m.beside, 1).ok());
        EXPECT_TRUE(m.beside.synchronize().ok());
        EXPECT_EQ(m.get(), out + 1);
      }
      EXPECT_EQ(trial.host.finish(), Problems{});
    }
  EXPECT_GT(wrong, 5);
  EXPECT_LT(wrong, 35);
}

TEST(CudaGraph, AnErrorWhileItIsRecordedEndsTheRecording) {
  TrialDevice trial;
  {
    Machine m(trial);
    m.set(1);
    const Status s = CudaGraph::capture(m.stream, [&] { return error(Code::cancelled, "enough"); }).take_status();
    EXPECT_EQ(s.message(), "enough");
    EXPECT_EQ(CudaGraph::capture(m.stream, [&] { return m.stream.synchronize(); }).status().code(), Code::io);
    EXPECT_EQ(m.get(), 1);
  }
  EXPECT_EQ(trial.host.finish(), Problems{});
}

TEST(CudaModule, SaysWhatAnImageHas) {
  TrialDevice trial({.major = 8, .minor = 6});
  {
    auto device = made(trial.open());
    const auto load = [&](const std::vector<std::byte>& image) {
      return CudaModule::load(device, {"kernels/trial_cuda.cu", image}).take_status();
    };
    EXPECT_TRUE(load(trial_fatbin({80, 90})).ok());
    EXPECT_TRUE(load(trial_fatbin({70}, 1)).ok());  // PTX of an older one
    const Status other = load(trial_fatbin({90, 100}));
    EXPECT_EQ(other.code(), Code::unsupported);
    EXPECT_EQ(other.message(),
              "cuda device 0 (host device, 8.6): cuModuleLoadData, kernels of kernels/trial_cuda.cu (160 bytes for "
              "sm_90, sm_100): CUDA_ERROR_NO_BINARY_FOR_GPU (text of the host's driver) (driver for CUDA 13.0)");
    EXPECT_EQ(load({}).code(), Code::unsupported);
    EXPECT_EQ(load(std::vector<std::byte>(16)).code(), Code::unsupported);
    const auto fatbin = trial_fatbin({80});
    auto module = made(CudaModule::load(device, {"kernels/trial_cuda.cu", fatbin}));
    const Status none = module->kernel("absent").take_status();
    EXPECT_EQ(none.code(), Code::not_found);
    EXPECT_NE(none.message().find("absent of kernels/trial_cuda.cu"), std::string::npos) << none.message();
  }
  EXPECT_EQ(trial.host.finish(), Problems{});
}

TEST(CudaModule, ImagesThatAreCutSayWhatIsLeft) {
  const auto fatbin = trial_fatbin({80, 90, 100});
  EXPECT_EQ(image_architectures(fatbin), "sm_80, sm_90, sm_100");
  EXPECT_EQ(image_architectures(trial_fatbin({90}, 1)), "compute_90");
  for (size_t n = 0; n < fatbin.size(); ++n) {
    const std::vector<std::byte> cut(fatbin.begin(), fatbin.begin() + long(n));
    const std::string has = image_architectures(cut);
    EXPECT_EQ(has, n < 48 ? "unknown" : n < 120 ? "sm_80" : n < 192 ? "sm_80, sm_90" : "sm_80, sm_90, sm_100") << n;
  }
}

TEST(CudaKernel, RefusesShapesOfNoDevice) {
  TrialDevice trial;
  {
    Machine m(trial);
    m.set(1);
    AddArgs args{m.pool->address(), 1, 1};
    void* pointers[] = {&args};
    const auto launch = [&](LaunchShape shape) { return m.add.launch(m.stream, shape, pointers); };
    EXPECT_EQ(launch({{0, 1, 1}, 32, 0}).code(), Code::invalid);
    EXPECT_EQ(launch({{1, 65536, 1}, 32, 0}).code(), Code::invalid);
    EXPECT_EQ(launch({{1u << 31, 1, 1}, 32, 0}).code(), Code::invalid);
    EXPECT_EQ(launch({{1, 1, 1}, 0, 0}).code(), Code::invalid);
    EXPECT_EQ(launch({{1, 1, 1}, 1025, 0}).code(), Code::invalid);
    const Status much = launch({{1, 1, 1}, 32, 232449});
    EXPECT_EQ(much.code(), Code::unsupported);
    EXPECT_NE(much.message().find("add, 1 x 1 x 1 blocks of 32 threads, 0 + 232449 bytes of shared memory: a block of "
                                  "this device has at most 232448 bytes"),
              std::string::npos)
        << much.message();
    EXPECT_EQ(trial.host.calls_of("cuFuncSetAttribute"), 0u);
    EXPECT_TRUE(launch({{1, 1, 1}, 32, 48 << 10}).ok());
    EXPECT_EQ(trial.host.calls_of("cuFuncSetAttribute"), 0u);
    CudaKernel copy = m.add;
    EXPECT_TRUE(launch({{1, 1, 1}, 32, 232448}).ok());
    EXPECT_TRUE(copy.launch(m.stream, {{1, 1, 1}, 32, 60000}, pointers).ok());
    EXPECT_TRUE(launch({{1, 1, 1}, 32, 232448}).ok());
    EXPECT_EQ(trial.host.calls_of("cuFuncSetAttribute"), 2u);
    EXPECT_EQ(m.get(), 5);
  }
  EXPECT_EQ(trial.host.finish(), Problems{});
}

TEST(KernelTimes, AreOfTheDevice) {
  TrialDevice trial;
  {
    Machine m(trial);
    KernelTimes times = made(KernelTimes::create(m.device, 3));
    for (int step = 0; step < 2; ++step) {
      EXPECT_TRUE(times.begin(m.stream).ok());
      EXPECT_EQ(made(times.collect()).size(), 0u);
      EXPECT_TRUE(times.begin(m.stream).ok());
      for (uint32_t call = 0; call < 5; ++call) {
        for (uint32_t i = 0; i <= call; ++i) EXPECT_TRUE(m.run(m.add, m.stream, 1).ok());
        EXPECT_TRUE(times.mark(m.stream, 10 + call).ok());
      }
      const auto pieces = made(times.collect());
      ASSERT_EQ(pieces.size(), 3u);
      EXPECT_EQ(times.untimed(), 2u);
      uint64_t before = 0;
      for (uint32_t call = 0; call < 3; ++call) {
        EXPECT_EQ(pieces[call].call, 10 + call);
        EXPECT_EQ(pieces[call].begin, before);
        // The clock of the host's driver: a microsecond a kernel and one for the event.
        EXPECT_NEAR(double(pieces[call].end - before), 1000.0 * (call + 2), 2);
        before = pieces[call].end;
      }
    }
    EXPECT_TRUE(m.stream.synchronize().ok());
  }
  EXPECT_EQ(trial.host.finish(), Problems{});
}

}  // namespace
}  // namespace vibee
