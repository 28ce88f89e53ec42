// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/gemm/dense_kernel.h"

namespace vibee {
namespace {

constexpr DenseKernel kKernels[] = {
#define VIBEE_QKERNEL(symbol, technique, isa, format, order, rows)
#define VIBEE_FKERNEL(symbol, technique, isa, format, order, rows)
#define VIBEE_DKERNEL(symbol, technique, isa, order) {#symbol, #technique, Isa::isa, #order, &symbol},
#include "vibee/kernels/gemm/kernels.inc"
#undef VIBEE_QKERNEL
#undef VIBEE_FKERNEL
#undef VIBEE_DKERNEL
};

}  // namespace

std::span<const DenseKernel> dense_kernels() { return kKernels; }

const DenseKernel& dense_kernel(Isa isa) {
  const DenseKernel* best = nullptr;
  for (const DenseKernel& kernel : kKernels)
    if (kernel.order == "fma_k" && kernel.isa <= isa && (best == nullptr || kernel.isa > best->isa)) best = &kernel;
  VIBEE_CHECK(best != nullptr, "no dense kernel for {}", name(isa));
  return *best;
}

}  // namespace vibee
