// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/gemm/gemm.h"

#include <algorithm>

namespace vibee {
namespace {

#define VIBEE_UNPACKED_scalar(symbol) nullptr
#define VIBEE_UNPACKED_avx2(symbol) &symbol##_unpacked
#define VIBEE_UNPACKED_avx512(symbol) nullptr
#define VIBEE_UNPACKED_amx(symbol) &symbol##_unpacked, &symbol##_bf16
constexpr GemmKernel kKernels[] = {
#define VIBEE_QKERNEL(symbol, technique, isa, format, order, rows) \
  {#symbol, #technique, Isa::isa, Format::format, #order, rows, symbol, nullptr, VIBEE_UNPACKED_##isa(symbol)},
#define VIBEE_FKERNEL(symbol, technique, isa, format, order, rows) \
  {#symbol, #technique, Isa::isa, Format::format, #order, rows, nullptr, symbol},
#define VIBEE_DKERNEL(symbol, technique, isa, order)
#include "vibee/kernels/gemm/kernels.inc"
#undef VIBEE_QKERNEL
#undef VIBEE_FKERNEL
#undef VIBEE_DKERNEL
};
#undef VIBEE_UNPACKED_scalar
#undef VIBEE_UNPACKED_avx2
#undef VIBEE_UNPACKED_avx512
#undef VIBEE_UNPACKED_amx

}  // namespace

std::span<const GemmKernel> gemm_kernels() { return kKernels; }

const GemmKernel& gemm_kernel(Format format, Isa isa) {
  const GemmKernel* best = nullptr;
  for (const GemmKernel& kernel : kKernels)
    if (kernel.format == format && kernel.isa <= isa && (best == nullptr || kernel.isa > best->isa)) best = &kernel;
  VIBEE_CHECK(best != nullptr, "no kernel for {}", info(format).name);
  return *best;
}

uint64_t panel_scratch(const GemmKernel& kernel, uint32_t k, uint32_t rows, RowForm form) {
  if (form == RowForm::floats) return kernel.int_tile ? sizeof(float) * 16 * uint64_t(k) : 0;
  const uint32_t bf16 = form == RowForm::bf16 && kernel.bf16 ? kernel.bf16->block_bytes : 0;
  return uint64_t(k) / 32 * std::max(bf16, unpacks(kernel, rows) ? kernel.unpacked->block_bytes : 0);
}

void PanelProduct::decode(uint32_t panel, uint8_t* scratch) {
  decode_panel(w_, panel, reinterpret_cast<float*>(scratch));
  data_ = scratch;
  kernel_ = &gemm_kernel(Format::f32, kernel_->isa);
}

void PanelProduct::unpack(const UnpackedTile& how, uint8_t* scratch) {
  how.unpack(data_, w_.k, scratch);
  unpacked_ = &how;
  bytes_ = scratch;
}

uint32_t matmul_chunk(const MatmulInput& in, uint32_t k) {
  constexpr uint64_t kCacheShare = 512u << 10;
  const uint32_t unit = in.bf16 ? kBf16Tile : kActMaxGroup;
  const uint64_t fit = in.bf16 ? 2 * kCacheShare / (uint64_t(k) * 2) : kCacheShare / (uint64_t(k) * 3 / 2 + 1);
  return std::max(uint32_t(fit / unit * unit), unit);
}

}  // namespace vibee
