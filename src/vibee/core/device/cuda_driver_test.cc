// SPDX-License-Identifier: Apache-2.0
#include "vibee/core/device/cuda_driver.h"

#include <gtest/gtest.h>

#include "vibee/kit/host_cuda_driver.h"

namespace vibee {
namespace {

Status loaded(const std::string& library) {
  return load_cuda_driver(std::string(VIBEE_CUDA_STUBS) + "/lib" + library + ".so").take_status();
}

TEST(CudaDriver, SaysWhatIsMissing) {
  const Status none = load_cuda_driver("/nowhere/libcuda.so.1").take_status();
  EXPECT_EQ(none.code(), Code::not_found);
  EXPECT_NE(none.message().find("/nowhere/libcuda.so.1"), std::string::npos) << none.message();

  const Status lacks = loaded("cuda_lacks");
  EXPECT_EQ(lacks.code(), Code::unsupported);
  EXPECT_NE(lacks.message().find("has no cuGraphExecUpdate_v2: the driver is for CUDA 11.2, and CUDA 12.0 or newer"),
            std::string::npos)
      << lacks.message();

  const Status old = loaded("cuda_old");
  EXPECT_EQ(old.code(), Code::unsupported);
  EXPECT_NE(old.message().find("for CUDA 11.4, and CUDA 12.0 or newer is needed"), std::string::npos) << old.message();

  const Status empty = loaded("cuda_no_device");
  EXPECT_EQ(empty.code(), Code::not_found);
  EXPECT_NE(empty.message().find("the driver (CUDA 13.0) finds no device (cuInit: CUDA_ERROR_NO_DEVICE (text"),
            std::string::npos)
      << empty.message();

  const Status stuck = loaded("cuda_no_start");
  EXPECT_EQ(stuck.code(), Code::unsupported);
  EXPECT_NE(stuck.message().find("does not start (cuInit: CUDA error 803"), std::string::npos) << stuck.message();

  for (const Status* s : {&none, &lacks, &old, &empty, &stuck})
    EXPECT_EQ(s->message().find('\n'), std::string::npos) << s->message();
}

TEST(CudaDriver, TheHostsDriverAnswersAlike) {
  {
    HostCudaDriver host({.version = 11080});
    EXPECT_NE(host.load().status().message().find("for CUDA 11.8"), std::string::npos);
  }
  {
    HostCudaDriver host({.devices = 0});
    EXPECT_EQ(host.load().status().code(), Code::not_found);
  }
  HostCudaDriver host({.devices = 3});
  const auto driver = host.load();
  ASSERT_TRUE(driver.ok()) << driver.status().message();
  EXPECT_EQ((*driver)->devices, 3);
  EXPECT_EQ(cuda_version_text((*driver)->version), "13.0");
  EXPECT_EQ(host.finish(), std::vector<std::string>{});
}

TEST(CudaDriver, FailsAtEveryCallOfItsStart) {
  for (uint64_t n = 1; n <= 3; ++n) {
    HostCudaDriver host({});
    host.fail(n, CudaResult(803));
    EXPECT_EQ(host.load().status().code(), Code::unsupported) << n;
    EXPECT_FALSE(host.failed().empty());
  }
}

}  // namespace
}  // namespace vibee
