// SPDX-License-Identifier: Apache-2.0
// Dense products against their definition, byte for byte, for every row of the kernel table, and against the matmul of
// inference; the edges of blocks; what is refused.
#include <gtest/gtest.h>

#include "vibee/kernels/gemm/dense_cases.h"
#include "vibee/kernels/gemm/gemm_cases.h"

namespace vibee {
namespace {

/// Every instruction set and 1, 2 and 3 threads give the definition's bytes, and touch nothing else.
void expect_definition(const DenseCase& c, const std::string& what) {
  const DenseCase::Outputs want = c.reference();
  for (const DenseKernel& kernel : dense_kernels()) {
    if (kernel.isa > detected_isa()) continue;
    for (const uint32_t threads : {1u, 2u, 3u}) {
      const auto got = c.run(kernel.isa, threads);
      ASSERT_TRUE(got.ok()) << got.status().message();
      ASSERT_TRUE(*got == want) << what << ": " << kernel.symbol << ", " << threads << " threads";
    }
  }
}

std::string describe(const GemmProblem& p) {
  return fmt::format("m {} n {} k {} batch {} grouping {} alpha {} beta {} goes on {} packed {} a {}{} b {}{}", p.m,
                     p.n, p.k, p.batch, int(p.grouping), p.alpha, p.beta, p.goes_on, p.packed_b, info(p.a.element).name,
                     p.a.transposed ? "^T" : "", info(p.b.element).name, p.b.transposed ? "^T" : "");
}

TEST(CutlassGemm, RandomProblemsGiveTheDefinitionsBytes) {
  RandomStream random(1688, Purpose::test);
  constexpr uint32_t kSizes[] = {0, 1, 2, 3, 5, 17, 31, 64};
  for (int i = 0; i < 120; ++i) {
    const DenseCase c = random_case(kSizes, random);
    expect_definition(c, describe(c.problem()));
    if (HasFatalFailure()) return;
  }
}

TEST(CutlassGemm, SumsAreAsNearToDoublesAsTheirRoundingsAllow) {
  RandomStream random(2, Purpose::test);
  constexpr uint32_t kSizes[] = {1, 7, 40, 97};
  for (int i = 0; i < 20; ++i) {
    const DenseCase c = random_case(kSizes, random);
    if (c.problem().epilogue.any()) continue;
    std::vector<double> exact, terms;
    const DenseCase::Outputs out = c.reference(&exact, &terms);
    c.each_of_d([&](uint64_t at, uint32_t, uint32_t, uint32_t) {
      ASSERT_NEAR(out.d[at], exact[at], 4.0 * (c.problem().k + 2) * 0x1p-24 * terms[at]) << describe(c.problem());
    });
  }
}

TEST(CutlassGemm, EdgesOfBlocks) {
  RandomStream random(3, Purpose::test);
  const auto problem = [](uint32_t m, uint32_t n, uint32_t k) {
    GemmProblem p;
    p.m = m;
    p.n = n;
    p.k = k;
    return p;
  };
  std::vector<GemmProblem> problems = {problem(3, 4130, 5),    // two blocks of columns
                                       problem(910, 33, 3),    // several blocks of rows
                                       problem(3, 18, 2050)};  // three of depth
  for (size_t i = 0; i < 3; ++i) {
    GemmProblem p = problems[i];  // and again with what keeps the sums out of D
    p.beta = -0.5f;
    p.epilogue = {true, Gate::silu, true, true, true};
    p.b.transposed = true;
    problems.push_back(p);
  }
  problems.push_back(problem(2, 17, 4200));  // depth of few rows with panels
  problems.back().packed_b = true;
  problems.push_back(problem(2, 1040, 3));  // blocks of columns of whole items
  problems.back().batch = 6;
  for (const GemmProblem& p : problems) {
    expect_definition(DenseCase(p, random), describe(p));
    if (HasFatalFailure()) return;
  }
}

TEST(CutlassGemm, EqualsTheMatmulOfInference) {
  RandomStream random(4, Purpose::test);
  for (const GemmKernel& kernel : gemm_kernels()) {
    if (kernel.isa > detected_isa() || !is_plain_float(kernel.format)) continue;
    GemmProblem p;
    p.m = 29;
    p.n = 45;
    p.k = 77;
    p.packed_b = true;
    const auto rows = random_rows(kernel.format, p.n, p.k, random);
    const auto panels = pack(kernel.format, 16, p.n, p.k, rows);
    std::vector<float> x(p.m * p.k), got(p.m * p.n);
    for (float& v : x) v = random.normal();
    const PackedWeight w{kernel.format, p.n, p.k, 16, panels.data()};
    const std::vector<float> want = multiply(kernel, w, {}, x, p.m);
    const auto plan = GemmPlan::make(p, 1, kernel.isa);
    ASSERT_TRUE(plan.ok());
    const auto workspace = HugeBuffer::allocate(plan->workspace());
    GemmData data;
    data.a = std::span<const float>(x);
    data.packed = &w;
    data.d = got;
    Team team(1);
    const Status status = plan->run(data, team, {workspace->data(), workspace->size()});
    ASSERT_TRUE(status.ok()) << status.message();
    EXPECT_EQ(0, std::memcmp(want.data(), got.data(), want.size() * sizeof(float))) << kernel.symbol;
  }
}

TEST(CutlassGemm, PartsMakeTheWhole) {
  GemmProblem p;
  p.m = 37;
  p.n = 75;
  p.k = 1030;
  p.batch = 2;
  p.a.transposed = true;
  p.epilogue.bias = true;
  for (const bool packed : {false, true}) {
    RandomStream random(5, Purpose::test);
    p.packed_b = packed;
    const DenseCase c(p, random);
    const auto want = c.reference();
    const auto plan = GemmPlan::make(c.problem(), 1, detected_isa());
    ASSERT_TRUE(plan.ok());
    const auto workspace = HugeBuffer::allocate(plan->workspace());
    PackedWeight w = gemm_panels(c.problem());
    const auto panels = HugeBuffer::allocate(w.bytes());
    w.data = panels->data();
    std::vector<float> d(c.extent());
    GemmData data = c.inputs();
    for (uint32_t i = 0; i < p.batch; ++i)
      gemm_pack_panels(c.problem(), detected_isa(), data.b, i, {0, w.panels()},
                       panels->data() + i * w.stride() * w.panels());
    data.packed = &w;
    data.d = d;
    ASSERT_TRUE(check_operands(plan->problem(), data).ok());
    for (const Range rows : {Range{0, 11}, {11, 37}})
      for (const Range columns : {Range{0, 32}, {32, 48}, {48, 75}})
        plan->run_part(data, rows, columns, {workspace->data(), workspace->size()});
    EXPECT_TRUE(DenseCase::Outputs::same(d, want.d)) << packed;
  }
}

std::string refusal(const GemmProblem& problem, const GemmData& data) {
  const auto p = checked(problem);
  return p.ok() ? check_operands(*p, data).message() : p.status().message();
}

TEST(CutlassGemm, SaysWhatIsWrong) {
  GemmProblem p;
  p.m = 3;
  p.n = 4;
  p.k = 5;
  std::vector<float> a(15), b(20), d(12), few(3), pre(12), all(64);
  GemmData data;
  data.a = std::span<const float>(a);
  data.b = std::span<const float>(b);
  data.d = d;
  EXPECT_EQ(refusal(p, data), "");

  GemmProblem q = p;
  q.a.ld = 4;
  EXPECT_EQ(refusal(q, data), "gemm: the leading dimension of A is 4, its stored rows have 5 elements");
  q = p;
  q.b.transposed = true;
  q.b.ld = 6;
  EXPECT_EQ(refusal(q, data), "gemm: B has 20 elements, its layout needs 23");
  q = p;
  q.epilogue.bias = true;
  data.bias = few;
  EXPECT_EQ(refusal(q, data), "gemm: bias has 3 values, the product has 4 columns to give one each");
  q = p;
  q.batch = 2;
  q.b.stride = 0;
  EXPECT_EQ(refusal(q, data), "gemm: A has 15 elements, its layout needs 30");
  q.d.stride = 11;
  EXPECT_EQ(refusal(q, data), "gemm: items of D are 11 elements apart, one takes 12");
  q = p;
  q.grouping = GemmGroups::rows;
  q.groups = 2;
  const uint32_t sizes[] = {1, 1}, deep[] = {2, 3};
  data.groups = sizes;
  EXPECT_EQ(refusal(q, data), "gemm: the 2 group sizes sum to 2, there are 3 rows");
  q.groups = 3;
  EXPECT_EQ(refusal(q, data), "gemm: 2 group sizes are given, the problem has 3 groups");
  q.grouping = GemmGroups::depth;
  q.groups = 2;
  data.groups = deep;
  EXPECT_EQ(refusal(q, data), "gemm: D has 12 elements, its layout needs 24");
  q = p;
  q.a.element = Format::bf16;
  EXPECT_EQ(refusal(q, data), "gemm: A is f32, the problem says bf16");
  q.a.element = Format::q8_0;
  EXPECT_EQ(refusal(q, data), "gemm: A of q8_0; A and B may be f32, bf16 or f16, D is f32");
  q = p;
  q.packed_b = true;
  EXPECT_EQ(refusal(q, data), "gemm: the problem wants B in panels, there are none");
  q = p;
  q.m = q.n = q.k = 0xffffffff;
  q.batch = 0xffffffff;
  EXPECT_NE(refusal(q, data).find("is more than memory"), std::string::npos) << refusal(q, data);

  data.a = std::span<const float>(all).subspan(0, 15);
  data.d = std::span<float>(all).subspan(14, 12);
  EXPECT_EQ(refusal(p, data), "gemm: D (48 bytes) overlaps A (60 bytes)");
  data.a = std::span<const float>(a);
  q = p;
  q.beta = 1;
  data.c = std::span<const float>(all).subspan(15, 12);
  EXPECT_EQ(refusal(q, data), "gemm: D (48 bytes) overlaps C (48 bytes); it has to be D itself or apart from it");
  data.c = data.d;
  EXPECT_EQ(refusal(q, data), "");
  q.epilogue.save_pre = true;
  data.pre = std::span<float>(all).subspan(20, 12);
  EXPECT_EQ(refusal(q, data), "gemm: D (48 bytes) overlaps pre (48 bytes)");
}

}  // namespace
}  // namespace vibee
