// SPDX-License-Identifier: Apache-2.0
// v1688: seeded problems of every kind give the bytes of their definition on every instruction set and 1 and 2 threads,
// near enough to doubles; operands end where reading on would end the process; groups are the loop over them; what
// inference multiplies comes out with the same bytes; libraries of others agree within rounding.
#include <algorithm>

#include "vibee/core/technique/context.h"
#include "vibee/kernels/gemm/dense_cases.h"
#include "vibee/kernels/gemm/gemm_cases.h"
#include "vibee/kernels/gemm/vendor_gemm.h"

namespace vibee {
namespace {

struct Tally {
  double worst = 0, vendor = 0;
  size_t problems = 0, wrong = 0, runs = 0, epilogues = 0, grouped = 0;
};

Status run_case(const DenseCase& c, Isa most, Tally& tally) {
  const GemmProblem& p = c.problem();
  std::vector<double> exact, terms;
  const DenseCase::Outputs want = c.reference(&exact, &terms);
  if (!p.epilogue.any())
    c.each_of_d([&](uint64_t at, uint32_t, uint32_t, uint32_t) {
      const double error = std::fabs(want.d[at] - exact[at]);
      const double bound = 4.0 * std::max(p.k, 1u) * 0x1p-23 * terms[at];
      const double share = error == 0 ? 0 : error / bound;
      tally.worst = share <= tally.worst ? tally.worst : share;
    });
  for (const DenseKernel& kernel : dense_kernels())
    for (const uint32_t threads : {1u, 2u}) {
      if (kernel.isa > most) continue;
      VIBEE_ASSIGN(const DenseCase::Outputs got, c.run(kernel.isa, threads));
      tally.wrong += !(got == want);
      ++tally.runs;
    }
  ++tally.problems;
  tally.epilogues += p.epilogue.any();
  tally.grouped += p.grouping != GemmGroups::none;
  return {};
}

/// Groups of rows, as one problem and one after another.
Status compare_groups(Isa isa, RandomStream& random, size_t& different) {
  GemmProblem p;
  p.m = 97;
  p.n = 64;
  p.k = 31;
  p.grouping = GemmGroups::rows;
  p.groups = 5;
  p.b.transposed = true;
  const std::vector<uint32_t> sizes = {17, 0, 1, 48, 31};
  const DenseCase c(p, random, sizes);
  VIBEE_ASSIGN(const DenseCase::Outputs whole, c.run(isa, 2));
  const GemmData data = c.inputs();
  uint32_t before = 0;
  for (uint32_t g = 0; g < p.groups; ++g) {
    GemmProblem one = p;
    one.grouping = GemmGroups::none;
    one.groups = 0;
    one.m = sizes[g];
    VIBEE_ASSIGN(const GemmPlan plan, GemmPlan::make(one, 1, isa));
    VIBEE_ASSIGN(const HugeBuffer workspace, HugeBuffer::allocate(plan.workspace()));
    std::vector<float> d(size_t(one.m) * p.n);
    GemmData part;
    part.a = std::span(static_cast<const float*>(data.a.data) + before * p.k, size_t(one.m) * p.k);
    part.b = std::span(static_cast<const float*>(data.b.data) + size_t(g) * p.n * p.k, size_t(p.n) * p.k);
    part.d = d;
    Team team(1);
    VIBEE_TRY(plan.run(part, team, {workspace.data(), workspace.size()}));
    different += !std::equal(d.begin(), d.end(), whole.d.begin() + size_t(before) * p.n,
                             [](float a, float b) { return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b); });
    before += sizes[g];
  }
  return {};
}

/// x times the panels of inference's own weights, by its kernels and by these.
Status compare_inference(Isa most, RandomStream& random, size_t& different, size_t& values) {
  for (const GemmKernel& kernel : gemm_kernels()) {
    if (kernel.isa > most || !is_plain_float(kernel.format)) continue;
    for (const uint32_t rows : {1u, 12u, 61u}) {
      GemmProblem p;
      p.m = rows;
      p.n = 97;
      p.k = 576;
      p.packed_b = true;
      const auto bytes = random_rows(kernel.format, p.n, p.k, random);
      const auto panels = pack(kernel.format, 16, p.n, p.k, bytes);
      std::vector<float> x(size_t(p.m) * p.k), got(size_t(p.m) * p.n);
      for (float& v : x) v = random.normal();
      const PackedWeight w{kernel.format, p.n, p.k, 16, panels.data()};
      const std::vector<float> want = multiply(kernel, w, {}, x, p.m);
      VIBEE_ASSIGN(const GemmPlan plan, GemmPlan::make(p, 2, kernel.isa));
      VIBEE_ASSIGN(const HugeBuffer workspace, HugeBuffer::allocate(plan.workspace()));
      GemmData data;
      data.a = std::span<const float>(x);
      data.packed = &w;
      data.d = got;
      Team team(2);
      VIBEE_TRY(plan.run(data, team, {workspace.data(), workspace.size()}));
      for (size_t i = 0; i < got.size(); ++i)
        different += std::bit_cast<uint32_t>(got[i]) != std::bit_cast<uint32_t>(want[i]);
      values += got.size();
    }
  }
  return {};
}

/// Largest error of a library's product over the bound of ours.
Result<double> vendor_error(const VendorGemm& vendor, RandomStream& random) {
  double worst = 0;
  for (const bool ta : {false, true})
    for (const bool tb : {false, true}) {
      GemmProblem p;
      p.m = 65;
      p.n = 97;
      p.k = 255;
      p.a.transposed = ta;
      p.b.transposed = tb;
      p.d.ld = 100;
      p.alpha = -0.5f;
      const DenseCase c(p, random);
      std::vector<double> exact, terms;
      c.reference(&exact, &terms);
      std::vector<float> d(c.extent());
      GemmData data = c.inputs();
      data.d = d;
      VIBEE_TRY(vendor.run(p, data));
      c.each_of_d([&](uint64_t at, uint32_t, uint32_t, uint32_t) {
        const double share = std::fabs(d[at] - exact[at]) / (4.0 * p.k * 0x1p-23 * terms[at]);
        worst = share <= worst ? worst : share;
      });
    }
  return worst;
}

}  // namespace

Status check_cutlass_gemm(CheckContext& context) {
  for (const char* part : {"AMX, vdpbf16ps and NEON tiles (bf16 is widened to f32)",
                           "int8 (packed_gemm has the products of quantised weights), FP8, 2:4 sparse and mixed input",
                           "Stream-K; on CPUs split-K",
                           "epilogues of general expressions: gated products, loads, row sums, quantised output",
                           "--gemm: every linear layer of run and serve through GemmProblem"})
    context.not_built(part);
  context.needs_device("cuda", "");
  if (context.describe_only()) return {};
  const RunSettings& settings = context.settings();
  RandomStream random(settings.seed, Purpose::test, 1688);
  constexpr uint32_t kSizes[] = {0, 1, 2, 3, 5, 17, 31, 64, 97, 255, 576};
  const int problems = 300;
  const auto sizes = std::span(kSizes).first(settings.quick ? 10 : 11);
  Tally tally;
  for (int i = 0; i < problems; ++i) {
    if (!context.proceed("problems", double(i) / problems)) return error(Code::cancelled, "stopped");
    VIBEE_TRY(run_case(random_case(sizes, random), settings.isa, tally));
  }
  context.equal(
      "runs unlike the definition, byte for byte", double(tally.wrong), 0, "",
      fmt::format("{} runs of {} problems ({} with an epilogue, {} grouped), every instruction set here, 1 and "
                  "2 threads; nothing beside D touched, no NaN from beside an operand",
                  tally.runs, tally.problems, tally.epilogues, tally.grouped));
  context.at_most("error against double over 4 k eps sum|a||b|", tally.worst, 1);

  size_t different = 0, values = 0;
  VIBEE_TRY(compare_groups(settings.isa, random, different));
  context.equal("groups unlike a loop over them", double(different), 0);
  different = 0;
  VIBEE_TRY(compare_inference(settings.isa, random, different, values));
  context.equal("values unlike inference's matmul", double(different), 0, "",
                fmt::format("{} values; f32, f16 and bf16 panels", values));

  for (const GemmVendor which : kGemmVendors) {
    const auto vendor = VendorGemm::open(which, settings.threads);
    if (!vendor.ok()) continue;  // the bench says what it was measured against
    VIBEE_ASSIGN(const double worst, vendor_error(*vendor, random));
    context.at_most(fmt::format("{}: error over the same bound", vendor->description()), worst, 1);
  }
  return {};
}

}  // namespace vibee
