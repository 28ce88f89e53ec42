// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/gemm/cublas_search.h"

#include <algorithm>

namespace vibee {
namespace {

std::string name_of(const CublasLt& library, const CublasHeuristic& candidate) {
  std::string out = fmt::format("cuBLASLt {} ", library.version_text());
  for (const uint64_t word : candidate.algo.data) out += fmt::format("{:016x}", word);
  return out;
}

/// Median seconds of an algorithm, or none where the library or the device refuses it.
Result<double> seconds_of(std::span<const CublasPlan> copies, const CublasSearch& search, CudaStream& stream,
                          const CublasHeuristic& candidate, CudaEvent& begin, CudaEvent& end) {
  std::vector<double> all;
  for (uint32_t round = 0; round <= search.rounds; ++round) {
    VIBEE_TRY(begin.record(stream));
    VIBEE_TRY(
        copies[round % copies.size()].run(candidate.algo, search.workspace, search.workspace_bytes, stream.get()));
    VIBEE_TRY(end.record(stream));
    VIBEE_TRY(end.synchronize());
    VIBEE_ASSIGN(const double seconds, seconds_between(*stream.device(), begin, end));
    if (round > 0) all.push_back(seconds);
  }
  std::ranges::nth_element(all, all.begin() + all.size() / 2);
  return all[all.size() / 2];
}

}  // namespace

std::string cublas_signature(const CublasProduct& p, const CublasSearch& search) {
  const uint32_t in = p.operand == GemmOperand::f32 ? 4 : 2, out = p.output == GemmOutput::f32 ? 4 : 2;
  return fmt::format(
      "cublas {}x{}x{} batch {} types {}{}{} op {}{} ld {},{},{} epilogue {} beta {} align {},{},{} {} in {}", p.m, p.n,
      p.k, p.batch, int(p.operand), int(p.output), p.tf32 ? "t" : "", p.transposed_a ? 't' : 'n',
      p.transposed_b ? 't' : 'n', p.ld_a, p.ld_b, p.ld_d, uint32_t(p.epilogue), p.beta != 0,
      cublas_alignment(p.a, p.ld_a, p.stride_a, p.batch, in), cublas_alignment(p.b, p.ld_b, p.stride_b, p.batch, in),
      cublas_alignment(p.d, p.ld_d, p.stride_d, p.batch, out), search.whole_sums ? "whole" : "any",
      search.workspace_bytes);
}

Result<CublasFound> search_cublas(std::span<const CublasPlan> copies, const CublasSearch& search, CudaStream& stream,
                                  Records* records) {
  VIBEE_CHECK(!copies.empty() && search.rounds > 0);
  VIBEE_ASSIGN(const auto candidates, copies[0].candidates(search.workspace_bytes, search.whole_sums));
  const CublasLt& library = copies[0].library();
  const std::string signature = cublas_signature(copies[0].product(), search);
  CublasFound out;
  out.candidates = candidates.size();
  std::vector<double> seconds;
  Status failure;
  for (const CublasHeuristic& candidate : candidates) {
    const auto known = records ? records->seconds(signature, name_of(library, candidate)) : std::nullopt;
    if (!known) break;
    seconds.push_back(*known);
  }
  if (seconds.size() < candidates.size()) {
    out.measured = true;
    seconds.clear();
    VIBEE_ASSIGN(CudaEvent begin, CudaEvent::create(stream.device(), true));
    VIBEE_ASSIGN(CudaEvent end, CudaEvent::create(stream.device(), true));
    for (const CublasHeuristic& candidate : candidates) {
      const auto took = seconds_of(copies, search, stream, candidate, begin, end);
      seconds.push_back(took.ok() ? *took : 0);
      if (!took.ok()) failure = took.status();
      // Where the file cannot be written it is searched again the next time.
      if (took.ok() && records) (void)records->add(signature, name_of(library, candidate), *took);
    }
  }
  out.failed = size_t(std::ranges::count_if(seconds, [](double s) { return !(s > 0); }));
  if (out.failed == seconds.size() && !failure.ok())
    return std::move(failure).within(fmt::format("none of {} algorithms ran", seconds.size()));
  VIBEE_ASSIGN(const size_t best, choose_cublas(candidates, seconds));
  out.algorithm = candidates[best], out.seconds = seconds[best];
  return out;
}

}  // namespace vibee
