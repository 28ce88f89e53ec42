// SPDX-License-Identifier: Apache-2.0
// The choice among implementations of dense products: libraries by threads of a team against the definition, and what
// records decide.
#include "vibee/kernels/gemm/gemm_choice.h"

#include <gtest/gtest.h>

#include "vibee/kernels/gemm/dense_cases.h"

namespace vibee {
namespace {

GemmProblem problem(uint32_t m, uint32_t n, uint32_t k, bool a_transposed = false, bool b_transposed = false) {
  GemmProblem p;
  p.m = m, p.n = n, p.k = k;
  p.a.transposed = a_transposed, p.b.transposed = b_transposed;
  return p;
}

class GemmChoiceTest : public testing::Test {
 protected:
  void SetUp() override {
    auto found = GemmChoice::open(GemmPolicy::vendor);
    if (!found.ok()) GTEST_SKIP() << found.status().message();
    choice_ = std::move(*found);
  }
  /// Records that say what every implementation takes for a problem: ours, and the libraries in their order.
  Records times(const GemmProblem& p, double ours, double theirs, double last) {
    Records records = std::move(*Records::open("", "cpu"));
    const std::string signature = gemm_signature(*checked(p), 1);
    EXPECT_TRUE(records.add(signature, fmt::format("cutlass_gemm {} scalar", kCutlassGemmVersion), ours).ok());
    for (int i = 0; i < libraries(); ++i)
      EXPECT_TRUE(records.add(signature, choice_.description(i), i + 1 == libraries() ? last : theirs).ok());
    return records;
  }
  int libraries() {
    if (count_ == 0)
      for (const GemmVendor v : kGemmVendors) count_ += VendorGemm::open(v, 1).ok() ? 1 : 0;
    return count_;
  }
  GemmChoice choice_;
  int count_ = 0;
};

TEST_F(GemmChoiceTest, StripesOfThreadsGiveTheProduct) {
  RandomStream random(1, Purpose::test);
  for (const GemmVendor v : kGemmVendors) {
    auto library = VendorGemm::open(v, 1);
    if (!library.ok()) continue;
    for (int i = 0; i < 60; ++i) {
      const auto size = [&] { return 1 + random.below(90); };
      GemmProblem p = problem(size(), size(), size(), i % 2 == 1, i / 2 % 2 == 1);
      p.goes_on = i % 3 == 0;
      if (i % 5 == 0) p.d.ld = p.n + 7;
      const DenseCase c(p, random);
      std::vector<double> exact, terms;
      const DenseCase::Outputs want = c.reference(&exact, &terms);
      for (const uint32_t threads : {1u, 2u, 3u}) {
        Guarded<float> d(c.extent());
        const std::span<const float> start = c.start();
        std::copy(start.begin(), start.end(), d.span().begin());
        GemmData data = c.inputs();
        data.d = d.span();
        Team team(threads);
        ASSERT_TRUE(check_operands(c.problem(), data).ok());
        team.run([&](uint32_t tid) { library->run_thread(c.problem(), data, tid, threads); });
        c.each_of_d([&](uint64_t at, uint32_t, uint32_t, uint32_t) {
          ASSERT_NEAR(d.span()[at], exact[at], 4.0 * (p.k + 3) * 0x1p-24 * (terms[at] + std::fabs(start[at])))
              << library->description() << " " << gemm_signature(c.problem(), threads);
        });
      }
    }
  }
}

TEST_F(GemmChoiceTest, RecordsDecide) {
  const GemmProblem p = problem(32, 48, 16);
  Team team(1);
  const auto chosen = [&](GemmPolicy policy, double ours, double theirs, double last) {
    GemmChoice choice = std::move(*GemmChoice::open(policy));
    Records records = times(p, ours, theirs, last);
    const Status done = choice.choose({&p, 1}, team, Isa::scalar, &records);
    EXPECT_TRUE(done.ok()) << done.message();
    EXPECT_EQ(choice.rows().size(), 1u);
    EXPECT_FALSE(choice.rows()[0].measured);
    EXPECT_EQ(choice.find(p) != nullptr, choice.rows()[0].library >= 0);
    return choice.rows()[0].library;
  };
  EXPECT_EQ(chosen(GemmPolicy::automatic, 1.0, 2.0, 2.0), -1);
  EXPECT_EQ(chosen(GemmPolicy::automatic, 1.0, 2.0, 0.98), -1);  // what a measurement errs by
  EXPECT_EQ(chosen(GemmPolicy::automatic, 1.0, 2.0, 0.9), libraries() - 1);
  EXPECT_EQ(chosen(GemmPolicy::vendor, 1.0, 3.0, 2.0), libraries() - 1);
}

TEST_F(GemmChoiceTest, WhatIsNotKnownIsMeasuredOnce) {
  const GemmProblem all[] = {problem(64, 80, 96, true), problem(17, 16, 50, false, true), problem(64, 80, 96, true)};
  Records records = std::move(*Records::open("", "cpu"));
  Team team(2);
  ASSERT_TRUE(choice_.choose(all, team, detected_isa(), &records).ok());
  ASSERT_EQ(choice_.rows().size(), 2u);
  for (const GemmChoice::Row& row : choice_.rows()) {
    EXPECT_TRUE(row.measured);
    EXPECT_GT(row.ours, 0);
    EXPECT_GE(row.library, 0);
    EXPECT_GT(row.seconds, 0);
  }
  GemmChoice again = std::move(*GemmChoice::open(GemmPolicy::vendor));
  ASSERT_TRUE(again.choose(all, team, detected_isa(), &records).ok());
  EXPECT_FALSE(again.rows()[0].measured);
  EXPECT_EQ(again.rows()[0].library, choice_.rows()[0].library);
  EXPECT_EQ(again.find(problem(64, 80, 97, true)), nullptr);
}

TEST_F(GemmChoiceTest, OthersThanFloatsAreOurs) {
  GemmProblem p = problem(8, 8, 8);
  p.b.element = Format::bf16;
  Records records = std::move(*Records::open("", "cpu"));
  Team team(1);
  ASSERT_TRUE(choice_.choose({&p, 1}, team, detected_isa(), &records).ok());
  EXPECT_EQ(choice_.find(p), nullptr);
}

TEST(GemmChoice, NativeAsksNobody) {
  const auto choice = GemmChoice::open(GemmPolicy::native);
  ASSERT_TRUE(choice.ok());
  EXPECT_EQ(choice->find(problem(8, 8, 8)), nullptr);
}

}  // namespace
}  // namespace vibee
