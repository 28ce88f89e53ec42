// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/gemm/int8_gemm.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "vibee/base/math/half.h"
#include "vibee/base/memory/checked.h"
#include "vibee/kernels/gemm/int8_code.h"

namespace vibee {
namespace {

float number(const ProductOperand& x, uint32_t row, uint32_t k) {
  const uint64_t at = x.across ? k * x.ld + row : row * x.ld + k;
  if (x.element == Format::f32) return static_cast<const float*>(x.p)[at];
  const uint16_t bits = static_cast<const uint16_t*>(x.p)[at];
  return x.element == Format::bf16 ? bf16_to_float(bits) : half_to_float(bits);
}

const TileCode& code_of(Isa isa) {
  return isa == Isa::amx      ? int8_code_amx
         : isa == Isa::avx512 ? int8_code_avx512
         : isa == Isa::avx2   ? int8_code_avx2
                              : int8_code_scalar;
}

}  // namespace

uint64_t int8_panel_bytes(uint32_t rows, uint32_t depth) { return PackedPanels{nullptr, rows, depth}.bytes(); }

float int8_largest(const ProductOperand& x, Range rows, Isa isa) {
  constexpr uint32_t kSome = 64;
  float some[kSome], most = 0;
  for (uint32_t r = rows.begin; r < rows.end; r += kSome) {
    const uint32_t end = std::min(rows.end, r + kSome);
    code_of(isa).largest(x, {r, end}, some);
    for (uint32_t i = 0; i < end - r; ++i) most = some[i] > most || std::isnan(some[i]) ? some[i] : most;
    if (std::isnan(most)) return most;
  }
  return most;
}

void int8_pack(const ProductOperand& b, float largest, Range panels, Isa isa, const PackedPanels& out) {
  const TileCode& code = code_of(isa);
  for (uint32_t p = panels.begin; p < panels.end; ++p) {
    const Range rows{p * kPackedPanel, std::min(b.rows, (p + 1) * kPackedPanel)};
    float of_rows[kPackedPanel];
    if (largest >= 0 || std::isnan(largest))
      std::fill_n(of_rows, kPackedPanel, largest);
    else
      code.largest(b, rows, of_rows);
    code.pack(b, rows.begin, kPackedPanel, code.flip, of_rows, out.panel(p), out.scales() + uint64_t(p) * kPackedPanel,
              nullptr);
  }
}

uint64_t int8_workspace(uint32_t depth, Isa isa) { return tile_workspace(code_of(isa), depth); }
uint32_t int8_tile_rows(Isa isa) { return code_of(isa).rows; }

void int8_product(const ProductOperand& a, const PackedPanels& b, Range rows, Isa isa, float* d, uint64_t d_row,
                  std::span<uint8_t> workspace) {
  VIBEE_CHECK(a.depth <= kInt8MostDepth);
  tile_product(code_of(isa), a, b, rows, d, d_row, workspace);
}

void int8_codes_reference(const ProductOperand& x, Int8Scale kind, int8_t* q, float* s) {
  std::vector<float> largest(x.rows);
  for (uint32_t r = 0; r < x.rows; ++r)
    for (uint32_t k = 0; k < x.depth; ++k) {
      const float size = std::fabs(number(x, r, k));
      if (std::isnan(largest[r])) continue;
      largest[r] = !std::isfinite(size) ? NAN : std::max(largest[r], size);
    }
  if (kind == Int8Scale::tensor) {
    float all = 0;
    for (const float one : largest) all = std::isnan(all) || std::isnan(one) ? NAN : std::max(all, one);
    std::fill(largest.begin(), largest.end(), all);
  }
  for (uint32_t r = 0; r < x.rows; ++r) {
    const bool usable = largest[r] >= 1e-35f;
    s[r] = std::isnan(largest[r]) ? largest[r] : usable ? largest[r] / 127.0f : 0.0f;
    const float by = usable ? 127.0f / largest[r] : 0.0f;
    for (uint32_t k = 0; k < x.depth; ++k) {
      const float y = usable ? number(x, r, k) * by : 0;
      q[uint64_t(r) * x.depth + k] = int8_t(std::nearbyint(y));
    }
  }
}

void int8_product_reference(const ProductOperand& a, const ProductOperand& b, Int8Scale of_b, float* d,
                            uint64_t d_row) {
  std::vector<int8_t> qa(uint64_t(a.rows) * a.depth), qb(uint64_t(b.rows) * b.depth);
  std::vector<float> sa(a.rows), sb(b.rows);
  int8_codes_reference(a, Int8Scale::row, qa.data(), sa.data());
  int8_codes_reference(b, of_b, qb.data(), sb.data());
  for (uint32_t i = 0; i < a.rows; ++i)
    for (uint32_t j = 0; j < b.rows; ++j) {
      int32_t sum = 0;
      for (uint32_t k = 0; k < a.depth; ++k)
        sum += int32_t(qa[uint64_t(i) * a.depth + k]) * qb[uint64_t(j) * b.depth + k];
      d[i * d_row + j] = float(sum) * (sa[i] * sb[j]);
    }
}

}  // namespace vibee
