// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/gemm/cublas_optimization.h"

#include <gtest/gtest.h>

#include "vibee/kernels/gemm/cublas_cases.h"
#include "vibee/kit/host_cublaslt.h"

namespace vibee {
namespace {

TEST(CublasOptimization, ProductsByRowsAreTheLibrarysByColumns) {
  HostCublasLt host;
  const auto library = host.load();
  ASSERT_TRUE(library.ok()) << library.status().message();
  {
    const auto handle = CublasHandle::create(*library);
    ASSERT_TRUE(handle.ok());
    RandomStream random(1, Purpose::test, 1689);
    for (const CublasEpilogue epilogue : kCublasEpilogues)
      for (uint32_t i = 0; i < 36; ++i) {
        CublasCase test = CublasCase::random(random, epilogue, i & 1, i & 2, 1 + i / 4 % 3);
        const auto unlike = run_cublas_case(*handle, test);
        ASSERT_TRUE(unlike.ok()) << unlike.status().message() << " " << host.refusal();
        EXPECT_EQ(*unlike, 0u) << uint32_t(epilogue) << " of case " << i;
        const auto attributes = unlike_attributes(*library, test.product());
        ASSERT_TRUE(attributes.ok());
        EXPECT_EQ(*attributes, 0u);
      }
    EXPECT_EQ(host.products(), 36 * std::size(kCublasEpilogues));
  }
  EXPECT_EQ(host.live(), 0);
}

// The reference is not the mapping once more: a product that is asked for otherwise differs from it.
TEST(CublasOptimization, AWrongProductIsSeen) {
  HostCublasLt host;
  const auto library = host.load();
  const auto handle = CublasHandle::create(*library);
  ASSERT_TRUE(handle.ok());
  RandomStream random(2, Purpose::test, 1689);
  size_t seen = 0;
  for (int i = 0; i < 20; ++i) {
    CublasCase test = CublasCase::random(random, CublasEpilogue::bias, false, false, 1), want = test;
    test.p.alpha = want.p.alpha + 2;
    want.reference();
    const auto plan = CublasPlan::make(*handle, test.product());
    ASSERT_TRUE(plan.ok());
    const auto found = plan->candidates(0);
    ASSERT_TRUE(found.ok());
    ASSERT_TRUE(plan->run(found->front().algo, nullptr, 0, nullptr).ok());
    seen += want.unlike(test) > 0;
  }
  EXPECT_GE(seen, 15u);  // sums that are 0 stay so
}

struct Launch {
  GemmSizes sizes;
  GemmArgs args;
  std::vector<float> memory = std::vector<float>(4096);
  Launch() {
    sizes = {.a = GemmOperand::f32, .b = GemmOperand::f32, .transposed_b = true, .m = 3, .n = 8, .k = 5};
    args.a = memory.data(), args.b = memory.data() + 64, args.d = memory.data() + 512;
    args.ld_a = args.ld_b = 5, args.ld_d = 8, args.m = 3, args.n = 8, args.k = 5;
  }
};

TEST(CublasOptimization, LaunchesOfOursBecomeTheLibrarysOrAReason) {
  Launch plain;
  auto p = cublas_product(plain.sizes, plain.args);
  ASSERT_TRUE(p.ok()) << p.status().message();
  EXPECT_EQ(p->epilogue, CublasEpilogue::none);
  EXPECT_TRUE(p->transposed_b);

  Launch adds;
  adds.args.residual = adds.memory.data() + 1024;
  adds.args.bias = adds.memory.data();
  p = cublas_product(adds.sizes, adds.args);
  ASSERT_TRUE(p.ok()) << p.status().message();
  EXPECT_EQ(p->epilogue, CublasEpilogue::bias);
  EXPECT_EQ(p->beta, 1);
  EXPECT_EQ(p->c, adds.args.residual);

  Launch kept;
  kept.args.bias = kept.memory.data();
  kept.args.activation = GemmActivation::gelu_tanh;
  kept.args.pre = kept.memory.data() + 1024;
  p = cublas_product(kept.sizes, kept.args);
  ASSERT_TRUE(p.ok()) << p.status().message();
  EXPECT_EQ(p->epilogue, CublasEpilogue::gelu_aux_bias);
  EXPECT_EQ(p->ld_aux, 8u);

  const auto reason = [](auto change) {
    Launch l;
    change(l);
    const auto refused = cublas_product(l.sizes, l.args);
    EXPECT_EQ(refused.status().code(), Code::unsupported);
    return refused.status().message();
  };
  EXPECT_NE(reason([](Launch& l) { l.args.multiply = l.args.a; }).find("gated"), std::string::npos);
  EXPECT_NE(reason([](Launch& l) { l.args.activation = GemmActivation::silu; }).find("silu"), std::string::npos);
  EXPECT_NE(reason([](Launch& l) { l.args.activation = GemmActivation::gelu; }).find("gelu by erf"), std::string::npos);
  EXPECT_NE(reason([](Launch& l) { l.sizes.m = 0; }).find("nothing is multiplied in 0 x 8 x 5"), std::string::npos);
  EXPECT_NE(reason([](Launch& l) { l.sizes.a = l.sizes.b = GemmOperand::s8; }).find("8-bit"), std::string::npos);
  EXPECT_NE(reason([](Launch& l) { l.args.ld_a = 4; }).find("leading dimensions 4, 5, 8"), std::string::npos);
  EXPECT_NE(reason([](Launch& l) { l.args.residual = l.args.d, l.args.beta = 1; }).find("residual"), std::string::npos);
  EXPECT_NE(reason([](Launch& l) {
              l.args.activation = GemmActivation::gelu_tanh;
              l.args.pre = l.memory.data(), l.args.ld_d = 9;
            }).find("leading dimension 9"),
            std::string::npos);
  EXPECT_NE(reason([](Launch& l) {
              l.sizes.a = l.sizes.b = GemmOperand::bf16;
              l.args.output = GemmOutput::bf16, l.args.bias = l.memory.data();
            }).find("bias is of D's type"),
            std::string::npos);
}

TEST(CublasOptimization, AlignmentsAreThoseOfEveryRow) {
  const auto* const at = reinterpret_cast<const void*>(uintptr_t(1) << 20);
  EXPECT_EQ(cublas_alignment(at, 128, 0, 1, 2), 256u);
  EXPECT_EQ(cublas_alignment(at, 8, 0, 1, 2), 16u);
  EXPECT_EQ(cublas_alignment(at, 128, 3, 1, 2), 256u);
  EXPECT_EQ(cublas_alignment(at, 128, 3, 2, 2), 2u);
  EXPECT_EQ(cublas_alignment(reinterpret_cast<const void*>((uintptr_t(1) << 20) + 4), 128, 0, 1, 4), 4u);
}

TEST(CublasOptimization, TheHeuristicIsAskedWithThem) {
  HostCublasLt host;
  const auto handle = CublasHandle::create(*host.load());
  ASSERT_TRUE(handle.ok());
  CublasProduct p;
  p.operand = GemmOperand::f32;
  p.m = p.n = p.k = p.ld_a = p.ld_b = p.ld_d = 64;
  p.ld_b = 66;
  p.a = reinterpret_cast<const void*>(uintptr_t(1) << 20), p.b = p.a, p.d = const_cast<void*>(p.a);
  const auto plan = CublasPlan::make(*handle, p);
  ASSERT_TRUE(plan.ok());
  ASSERT_EQ(plan->candidates(uint64_t(1) << 20)->size(), 2u);
  EXPECT_EQ(plan->candidates(100)->size(), 1u);  // the other one wants more
  EXPECT_EQ(plan->candidates(uint64_t(1) << 20, true)->size(), 1u);
  EXPECT_EQ(host.alignments(), (std::vector<uint32_t>{8, 256, 256, 256}));
}

TEST(CublasOptimization, WhatTheLibraryAnswersIsOneLine) {
  HostCublasLt host;
  const auto library = *host.load();
  host.fail("cublasLtCreate", CublasResult::not_initialized);
  const auto none = CublasHandle::create(library);
  EXPECT_EQ(none.status().message(),
            "cuBLASLt 13.1.0 (the host's cuBLASLt): cublasLtCreate answered CUBLAS_STATUS_NOT_INITIALIZED");
  host.fail("", CublasResult::success);
  {
    const auto handle = *CublasHandle::create(library);
    RandomStream random(3, Purpose::test, 1689);
    CublasCase test = CublasCase::random(random, CublasEpilogue::none, false, true, 2);
    for (const char* call : {"cublasLtMatmulDescCreate", "cublasLtMatmulDescSetAttribute", "cublasLtMatrixLayoutCreate",
                             "cublasLtMatrixLayoutSetAttribute"}) {
      host.fail(call, CublasResult::invalid_value);
      const auto plan = CublasPlan::make(handle, test.product());
      EXPECT_NE(plan.status().message().find(call), std::string::npos) << plan.status().message();
    }
    host.fail("", CublasResult::success);
    const auto plan = CublasPlan::make(handle, test.product());
    ASSERT_TRUE(plan.ok());
    host.fail("cublasLtMatmulAlgoGetHeuristic", CublasResult::not_supported);
    EXPECT_NE(plan->candidates(0).status().message().find("has no algorithm for"), std::string::npos);
    host.fail("cublasLtMatmul", CublasResult::execution_failed);
    EXPECT_NE(plan->run({}, nullptr, 0, nullptr).message().find("answered status 13"), std::string::npos);
  }
  EXPECT_EQ(host.live(), 0);
}

TEST(CublasOptimization, TheLeastWorkspaceWithinAPercent) {
  std::vector<CublasHeuristic> c(4);
  c[0].workspace = 100, c[1].workspace = 50, c[2].workspace = 0, c[3].workspace = 0;
  EXPECT_EQ(*choose_cublas(c, std::vector<double>{1.0, 1.009, 1.02, 0}), 1u);
  EXPECT_EQ(*choose_cublas(c, std::vector<double>{1.0, 1.011, 1.02, -1}), 0u);
  EXPECT_EQ(*choose_cublas(c, std::vector<double>{1.0, 1.0, 1.004, 1.001}), 3u);
  EXPECT_EQ(choose_cublas(c, std::vector<double>{0, 0, -1, 0}).status().code(), Code::not_found);
}

// VIBEE_CUBLASLT=FILE runs this with the real library; descriptors need no device.
TEST(CublasOptimization, TheRealLibrarysDescriptorsHoldWhatTheyAreGiven) {
  const auto& real = cublaslt();
  if (!real.ok()) GTEST_SKIP() << real.status().message();
  RandomStream random(4, Purpose::test, 1689);
  for (const CublasEpilogue epilogue : kCublasEpilogues)
    for (uint32_t i = 0; i < 12; ++i) {
      CublasCase test = CublasCase::random(random, epilogue, i & 1, i & 2, 1 + i / 4);
      const auto unlike = unlike_attributes(*real, test.product());
      ASSERT_TRUE(unlike.ok()) << unlike.status().message();
      EXPECT_EQ(*unlike, 0u) << uint32_t(epilogue);
    }
}

}  // namespace
}  // namespace vibee
