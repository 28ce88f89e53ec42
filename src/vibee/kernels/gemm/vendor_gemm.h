// SPDX-License-Identifier: Apache-2.0
// Dense products by libraries of others, found at run time and never linked: OpenBLAS, BLIS, oneDNN. Their order of
// summation is their own, so nothing that promises bytes may choose them; they are what cutlass_gemm is measured
// against. Not here: epilogues, groups, bf16, which they are not asked for.
#pragma once

#include <memory>
#include <string>

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
  /// A plain f32 product with alpha, beta (C is D) and transposes, one item after another; the rest is refused.
  Status run(const GemmProblem& problem, const GemmData& data) const;

 private:
  struct Unload {
    void operator()(void* library) const;
  };
  GemmVendor vendor_ = GemmVendor::openblas;
  std::string description_;
  std::unique_ptr<void, Unload> library_;
  void (*product_)() = nullptr;
};

}  // namespace vibee
