// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/gemm/bf16_gemm.h"

#include <algorithm>
#include <cmath>

#include "vibee/base/math/half.h"
#include "vibee/kernels/gemm/bf16_code.h"

namespace vibee {
namespace {

const TileCode& code_of(Isa isa) {
  return isa == Isa::amx      ? bf16_code_amx
         : isa == Isa::avx512 ? bf16_code_avx512
         : isa == Isa::avx2   ? bf16_code_avx2
                              : bf16_code_scalar;
}
float rounded(const ProductOperand& x, uint32_t row, uint32_t k) {
  const uint64_t at = x.across ? k * x.ld + row : row * x.ld + k;
  if (x.element == Format::f32) return bf16_to_float(float_to_bf16(static_cast<const float*>(x.p)[at]));
  const uint16_t bits = static_cast<const uint16_t*>(x.p)[at];
  return x.element == Format::bf16 ? bf16_to_float(bits) : bf16_to_float(float_to_bf16(half_to_float(bits)));
}

}  // namespace

PackedPanels bf16_panels(uint8_t* data, uint32_t rows, uint32_t depth) { return {data, rows, depth, 2}; }
uint64_t bf16_panel_bytes(uint32_t rows, uint32_t depth) { return bf16_panels(nullptr, rows, depth).bytes(); }

void bf16_pack(const ProductOperand& b, Range panels, Isa isa, const PackedPanels& out) {
  for (uint32_t p = panels.begin; p < panels.end; ++p)
    code_of(isa).pack(b, p * kPackedPanel, kPackedPanel, 0, nullptr, out.panel(p), nullptr, nullptr);
}

uint64_t bf16_workspace(uint32_t depth, Isa isa) { return tile_workspace(code_of(isa), depth); }
uint32_t bf16_tile_rows(Isa isa) { return code_of(isa).rows; }

void bf16_product(const ProductOperand& a, const PackedPanels& b, Range rows, Isa isa, float* d, uint64_t d_row,
                  std::span<uint8_t> workspace, bool goes_on) {
  tile_product(code_of(isa), a, b, rows, d, d_row, workspace, goes_on);
}

void bf16_product_reference(const ProductOperand& a, const ProductOperand& b, float* d, uint64_t d_row) {
  for (uint32_t i = 0; i < a.rows; ++i)
    for (uint32_t j = 0; j < b.rows; ++j) {
      float sum = 0;
      for (uint32_t block = 0; block < a.depth; block += kBf16Block) {
        float chain[2] = {0, 0};
        for (uint32_t k = block; k < std::min(a.depth, block + kBf16Block); ++k)
          chain[k % 2] = std::fma(rounded(a, i, k), rounded(b, j, k), chain[k % 2]);
        sum += chain[0] + chain[1];
      }
      d[i * d_row + j] = sum;
    }
}

}  // namespace vibee
