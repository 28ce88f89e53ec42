// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/gemm/cublas_search.h"

#include <gtest/gtest.h>

#include "vibee/kit/host_cublaslt.h"
#include "vibee/kit/host_cuda_driver.h"

namespace vibee {
namespace {

TEST(CublasSearch, TimesEveryCandidateOnceAndThenReadsTheRecords) {
  HostCudaDriver driver({});
  {
    auto device = CudaDevice::open(*driver.load(), 0);
    ASSERT_TRUE(device.ok()) << device.status().message();
    auto stream = CudaStream::create(*device);
    ASSERT_TRUE(stream.ok());
    HostCublasLt host;
    const auto handle = CublasHandle::create(*host.load(), *device);
    ASSERT_TRUE(handle.ok());
    std::vector<float> a(2 * 64), b(64), d(2 * 64);
    std::vector<std::byte> workspace(size_t(1) << 20);
    std::vector<CublasPlan> copies;
    for (int i = 0; i < 2; ++i) {
      CublasProduct p;
      p.operand = GemmOperand::f32;
      p.m = p.n = p.k = p.ld_a = p.ld_b = p.ld_d = 8;
      p.a = a.data() + i * 64, p.b = b.data(), p.d = d.data() + i * 64;
      auto plan = CublasPlan::make(*handle, p);
      ASSERT_TRUE(plan.ok());
      copies.push_back(std::move(*plan));
    }
    const CublasSearch search{.workspace = workspace.data(), .workspace_bytes = workspace.size(), .rounds = 3};
    Records records = Records::parse("", "host");

    host.fail("cublasLtMatmul", CublasResult::execution_failed);
    const Status refused = search_cublas(copies, search, *stream, &records).take_status();
    EXPECT_NE(refused.message().find(
                  "none of 2 algorithms ran: cuBLASLt 13.1.0 (the host's cuBLASLt): cublasLtMatmul answered"),
              std::string::npos)
        << refused.message();
    host.fail("", CublasResult::success);

    const auto found = search_cublas(copies, search, *stream, &records);
    ASSERT_TRUE(found.ok()) << found.status().message();
    EXPECT_TRUE(found->measured);
    EXPECT_EQ(found->candidates, 2u);
    EXPECT_EQ(found->failed, 0u);
    EXPECT_EQ(host.products(), 2u * 4);
    const auto again = search_cublas(copies, search, *stream, &records);
    ASSERT_TRUE(again.ok());
    EXPECT_FALSE(again->measured);
    EXPECT_EQ(again->algorithm.algo.data[0], found->algorithm.algo.data[0]);
    EXPECT_EQ(again->seconds, found->seconds);
    EXPECT_EQ(host.products(), 2u * 4);
  }
  EXPECT_EQ(driver.finish(), std::vector<std::string>{});
}

TEST(CublasSearch, ARecordOfAnotherVersionIsNotFound) {
  HostCudaDriver driver({});
  {
    auto device = CudaDevice::open(*driver.load(), 0);
    auto stream = CudaStream::create(*device);
    ASSERT_TRUE(stream.ok());
    Records records = Records::parse("", "host");
    std::vector<float> memory(192);
    int searched = 0;
    for (const uint64_t version : {130100, 130200, 130200}) {
      HostCublasLt host(version);
      const auto handle = CublasHandle::create(*host.load(), *device);
      CublasProduct p;
      p.operand = GemmOperand::f32;
      p.m = p.n = p.k = p.ld_a = p.ld_b = p.ld_d = 8;
      p.a = memory.data(), p.b = memory.data() + 64, p.d = memory.data() + 128;
      const auto plan = CublasPlan::make(*handle, p);
      ASSERT_TRUE(plan.ok());
      const auto found = search_cublas(std::span(&*plan, 1), {}, *stream, &records);
      ASSERT_TRUE(found.ok()) << found.status().message();
      EXPECT_EQ(found->measured, searched++ < 2) << version;
    }
  }
  EXPECT_EQ(driver.finish(), std::vector<std::string>{});
}

}  // namespace
}  // namespace vibee
