// SPDX-License-Identifier: Apache-2.0
// What the driver of the host (kit/host_cuda_driver.h) finds: a check that cannot fail is worth nothing.
#include <gtest/gtest.h>

#include <cstring>

#include "vibee/kit/trial_device.h"

namespace vibee {
namespace {

using Problems = std::vector<std::string>;

struct Raw {
  Raw() {
    d.context_retain(&context, 0);
    d.context_push(context);
    d.stream_create(&stream, 0);
    d.memory_alloc(&memory, 100);
    d.host_alloc(&pinned, 100, 0);
  }
  Problems finish() {
    if (memory) d.memory_free(memory);
    if (pinned) d.host_free(pinned);
    if (stream) d.stream_destroy(stream);
    d.context_pop(&context);
    d.context_release(0);
    return trial.host.finish();
  }
  TrialDevice trial;
  const CudaDriver& d = *trial.driver;
  CUctx_st* context = nullptr;
  CUstream_st* stream = nullptr;
  CudaAddress memory = 0;
  void* pinned = nullptr;
};

void expect_problem(Problems found, std::string_view text) {
  ASSERT_EQ(found.size(), 1u);
  EXPECT_NE(found[0].find(text), std::string::npos) << found[0];
}

TEST(HostCudaDriver, FindsNothingWhereNothingIs) { EXPECT_EQ(Raw().finish(), Problems{}); }

TEST(HostCudaDriver, FindsCopiesOutOfBounds) {
  Raw r;
  EXPECT_EQ(r.d.copy_in(r.memory + 1, r.pinned, 100, r.stream), CudaResult::invalid_value);
  expect_problem(r.finish(), "cuMemcpyHtoDAsync to: 100 bytes at offset 1 of device block 0 of 100 bytes");
}

TEST(HostCudaDriver, FindsMemoryThatIsNotPinned) {
  Raw r;
  char here[100];
  EXPECT_EQ(r.d.copy_out(here, r.memory, 100, r.stream), CudaResult::invalid_value);
  expect_problem(r.finish(), "are in no pinned block");
}

TEST(HostCudaDriver, FindsMemoryFreedUnderACopy) {
  Raw r;
  EXPECT_EQ(r.d.copy_in(r.memory, r.pinned, 100, r.stream), CudaResult::success);
  r.d.host_free(std::exchange(r.pinned, nullptr));
  EXPECT_EQ(r.d.stream_synchronize(r.stream), CudaResult::illegal_address);
  expect_problem(r.finish(),
                 "cuMemcpyHtoDAsync from: 100 bytes at offset 0 of pinned block 0 of 100 bytes, which is freed");
}

TEST(HostCudaDriver, FindsWritesBesideABlock) {
  Raw r;
  reinterpret_cast<char*>(r.memory)[100] = 0;
  expect_problem(r.finish(), "device block 0 of 100 bytes: written at offset 100, outside");
}

TEST(HostCudaDriver, FindsWritesIntoFreedMemory) {
  Raw r;
  const auto at = reinterpret_cast<char*>(std::exchange(r.memory, 0));
  r.d.memory_free(reinterpret_cast<CudaAddress>(at));
  at[7] = 0;
  expect_problem(r.finish(), "written at offset 7 after it was freed");
}

TEST(HostCudaDriver, FindsLeaksAndDoubleFrees) {
  {
    Raw r;
    r.memory = 0;
    expect_problem(r.finish(), "device block 0 of 100 bytes: never freed");
  }
  {
    Raw r;
    EXPECT_EQ(r.d.memory_free(r.memory), CudaResult::success);
    EXPECT_EQ(r.d.memory_free(std::exchange(r.memory, 0)), CudaResult::invalid_value);
    expect_problem(r.finish(), "device block 0 of 100 bytes: freed twice");
  }
  Raw r;
  r.stream = nullptr;
  expect_problem(r.finish(), "1 streams never destroyed");
}

TEST(HostCudaDriver, FindsWhatIsUsedAfterItWasDestroyed) {
  {
    Raw r;
    auto* const stream = std::exchange(r.stream, nullptr);
    r.d.stream_destroy(stream);
    EXPECT_EQ(r.d.stream_synchronize(stream), CudaResult::invalid_handle);
    expect_problem(r.finish(), "is used and is not there");
  }
  Raw r;
  CUevent_st* event = nullptr;
  r.d.event_create(&event, 0);
  r.d.event_destroy(event);
  EXPECT_EQ(r.d.stream_wait(r.stream, event, 0), CudaResult::invalid_handle);
  expect_problem(r.finish(), "is used and is not there");
}

TEST(HostCudaDriver, WantsAContext) {
  TrialDevice trial;
  CudaAddress memory = 0;
  EXPECT_EQ(trial.driver->memory_alloc(&memory, 100), CudaResult::invalid_context);
  expect_problem(trial.host.finish(), "cuMemAlloc: no context is current");
}

}  // namespace
}  // namespace vibee
