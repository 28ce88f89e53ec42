// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/gemm/gemm.h"

namespace vibee {
namespace {

constexpr GemmKernel kKernels[] = {
#define VIBEE_QKERNEL(symbol, technique, isa, format, order, rows) \
  {#symbol, #technique, Isa::isa, Format::format, #order, rows, symbol, nullptr},
#define VIBEE_FKERNEL(symbol, technique, isa, format, order, rows) \
  {#symbol, #technique, Isa::isa, Format::format, #order, rows, nullptr, symbol},
#define VIBEE_DKERNEL(symbol, technique, isa, order)
#include "vibee/kernels/gemm/kernels.inc"
#undef VIBEE_QKERNEL
#undef VIBEE_FKERNEL
#undef VIBEE_DKERNEL
};

}  // namespace

std::span<const GemmKernel> gemm_kernels() { return kKernels; }

const GemmKernel& gemm_kernel(Format format, Isa isa) {
  const GemmKernel* best = nullptr;
  for (const GemmKernel& kernel : kKernels)
    if (kernel.format == format && kernel.isa <= isa && (best == nullptr || kernel.isa > best->isa)) best = &kernel;
  VIBEE_CHECK(best != nullptr, "no kernel for {}", info(format).name);
  return *best;
}

void PanelProduct::decode(uint32_t panel, std::vector<float>& scratch) {
  scratch.resize(uint64_t(w_.k) * 16);
  decode_panel(w_, panel, scratch.data());
  data_ = reinterpret_cast<const uint8_t*>(scratch.data());
  kernel_ = &gemm_kernel(Format::f32, kernel_->isa);
}

uint32_t matmul_chunk(uint32_t rows, uint32_t k) {
  constexpr uint64_t kCacheShare = 512u << 10;
  const uint64_t fit = kCacheShare / (uint64_t(k) * 3 / 2 + 1);
  const uint32_t chunk = uint32_t(fit / kActMaxGroup * kActMaxGroup);
  return chunk < kActMaxGroup ? kActMaxGroup : chunk;
}

}  // namespace vibee
