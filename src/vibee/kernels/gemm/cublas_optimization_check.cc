// SPDX-License-Identifier: Apache-2.0
// v1689: products by rows become the library's by columns, proved against a library of the host with its meaning, for
// all transposes, batches and epilogues; where the real library is, its descriptors hold what they were given.
#include "vibee/core/technique/context.h"
#include "vibee/kernels/gemm/cublas_cases.h"
#include "vibee/kit/host_cublaslt.h"

namespace vibee {

Status check_cublas_optimization(CheckContext& context) {
  for (const char* part :
       {"--gemm on a device: plans there multiply with the kernels of this build alone",
        "a verb that runs the timed search (kernels/gemm/cublas_search.h), and plans that pin what it finds",
        "FP8 operands, their scale modes and amax; emulation of f32 by products of bf16",
        "training that gives GEMM, bias, gelu and their gradients to one call"})
    context.not_built(part);
  context.needs_device("cuda", "");
  if (context.describe_only()) return {};

  const RunSettings& settings = context.settings();
  RandomStream random(settings.seed, Purpose::test, 1689);
  const uint32_t rounds = settings.quick ? 3 : 40;
  size_t problems = 0, wrong = 0, refused = 0, attributes = 0;
  std::vector<CublasCase> cases;
  HostCublasLt host;
  {
    VIBEE_ASSIGN(const auto library, host.load());
    VIBEE_ASSIGN(const auto handle, CublasHandle::create(library));
    for (const CublasEpilogue epilogue : kCublasEpilogues)
      for (uint32_t i = 0; i < rounds * 12; ++i) {
        cases.push_back(CublasCase::random(random, epilogue, i & 1, i & 2, 1 + i / 4 % 3));
        VIBEE_ASSIGN(const size_t unlike, run_cublas_case(handle, cases.back()));
        wrong += unlike != 0, ++problems;
        VIBEE_ASSIGN(const size_t other, unlike_attributes(library, cases.back().product()));
        attributes += other;
      }
    CublasCase narrow = CublasCase::random(random, CublasEpilogue::none, false, false, 1);
    CublasProduct p = narrow.product();
    p.ld_a = 0;
    refused += !CublasPlan::make(handle, p).ok();
  }
  context.equal("products unlike the reference by rows", double(wrong), 0, "",
                fmt::format("{} products by a library of the host: all transposes, 1 to 3 items, {} epilogues",
                            problems, std::size(kCublasEpilogues)));
  const auto& real = cublaslt();
  context.equal("attributes that came back otherwise from it", double(attributes), 0, "",
                real.ok() ? "" : fmt::format("the real library's were not checked: {}", real.status().message()));
  context.equal("leading dimensions below the width that are refused", double(refused), 1);
  context.equal("descriptors that nobody gave back", host.live(), 0);

  if (!real.ok()) return {};
  attributes = 0;
  for (CublasCase& c : cases) {
    VIBEE_ASSIGN(const size_t other, unlike_attributes(*real, c.product()));
    attributes += other;
  }
  const auto handle = CublasHandle::create(*real);
  context.equal("attributes that came back otherwise from the real library", double(attributes), 0, "",
                fmt::format("{} products, cuBLASLt {} ({}); a handle: {}", cases.size(), (*real)->version_text(),
                            (*real)->path, handle.ok() ? "made" : handle.status().message()));
  return {};
}

}  // namespace vibee
