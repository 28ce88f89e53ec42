// SPDX-License-Identifier: Apache-2.0
// Dense products by libraries of others, found at run time and never linked: OpenBLAS, BLIS, oneDNN. Their order of
// summation is their own, so nothing that promises bytes may choose them; cutlass_gemm is measured against them, and
// who gives that promise up may choose them (gemm_choice.h). Not here: epilogues, groups, bf16, which they are not
// asked for.
#pragma once

#include <memory>
#include <string>

#include "vibee/base/thread/team.h"
#include "vibee/kernels/gemm/gemm_problem.h"

namespace vibee {

enum class GemmVendor : uint8_t { openblas, blis, onednn };
inline constexpr GemmVendor kGemmVendors[] = {GemmVendor::openblas, GemmVendor::blis, GemmVendor::onednn};
std::string_view name(GemmVendor vendor);

class VendorGemm {
 public:
  /// The library on `threads` threads, or Code::not_found and which file was looked for.
  static Result<VendorGemm> open(GemmVendor vendor, uint32_t threads);

  /// Name, version, and the processor whose kernels it took: one that it does not know is served slowly.
  const std::string& description() const { return description_; }
  /// Whether it takes a (checked) problem: plain f32 products with alpha, beta and transposes, or ones that go on.
  Status takes(const GemmProblem& problem) const;
  /// One item after another; C is D.
  Status run(const GemmProblem& problem, const GemmData& data) const;
  /// For a caller that is inside Team::run already, with a library that was opened for one thread: every thread calls
  /// it with its number and computes its stripe of D. The problem is one that it takes, the operands have been checked.
  void run_thread(const GemmProblem& problem, const GemmData& data, uint32_t tid, uint32_t threads) const;

 private:
  Status product(const GemmProblem& problem, const GemmData& data, Range rows, Range columns) const;
  struct Unload {
    void operator()(void* library) const;
  };
  GemmVendor vendor_ = GemmVendor::openblas;
  std::string description_;
  std::unique_ptr<void, Unload> library_;
  void (*product_)() = nullptr;
  void (*threads_of_caller_)(int) = nullptr;  ///< where the number of threads is a thread's own (OpenMP)
};

}  // namespace vibee
