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

/// Rows of a that a thread packs before it multiplies: half of a second-level cache.
constexpr uint64_t kBlockBytes = 256 << 10;

uint64_t fours(uint32_t depth) { return (uint64_t(depth) + 3) / 4; }
/// Bytes of a tile's rows, and how many such tiles are packed at once.
uint64_t tile_bytes(uint32_t depth, const Int8Code& code) { return round_up(depth, code.unit) * code.rows; }
uint32_t tiles_of_block(uint32_t depth, const Int8Code& code) {
  return uint32_t(std::max<uint64_t>(1, kBlockBytes / tile_bytes(depth, code)));
}
float number(const ProductOperand& x, uint32_t row, uint32_t k) {
  const uint64_t at = x.across ? k * x.ld + row : row * x.ld + k;
  if (x.element == Format::f32) return static_cast<const float*>(x.p)[at];
  const uint16_t bits = static_cast<const uint16_t*>(x.p)[at];
  return x.element == Format::bf16 ? bf16_to_float(bits) : half_to_float(bits);
}

}  // namespace

const Int8Code& int8_code(Isa isa) {
  return isa == Isa::amx      ? int8_code_amx
         : isa == Isa::avx512 ? int8_code_avx512
         : isa == Isa::avx2   ? int8_code_avx2
                              : int8_code_scalar;
}

uint64_t int8_panel_bytes(uint32_t rows, uint32_t depth) {
  const Int8Panels p{nullptr, rows, depth};
  return round_up(p.panels() * (p.panel_bytes() + 4 * kInt8Panel), 64);
}

float int8_largest(const ProductOperand& x, Range rows, Isa isa) {
  constexpr uint32_t kSome = 64;
  float some[kSome], most = 0;
  for (uint32_t r = rows.begin; r < rows.end; r += kSome) {
    const uint32_t end = std::min(rows.end, r + kSome);
    int8_code(isa).largest(x, {r, end}, some);
    for (uint32_t i = 0; i < end - r; ++i) most = some[i] > most || std::isnan(some[i]) ? some[i] : most;
    if (std::isnan(most)) return most;
  }
  return most;
}

void int8_pack(const ProductOperand& b, float largest, Range panels, Isa isa, const Int8Panels& out) {
  const Int8Code& code = int8_code(isa);
  for (uint32_t p = panels.begin; p < panels.end; ++p) {
    const Range rows{p * kInt8Panel, std::min(b.rows, (p + 1) * kInt8Panel)};
    float of_rows[kInt8Panel];
    if (largest >= 0 || std::isnan(largest))
      std::fill_n(of_rows, kInt8Panel, largest);
    else
      code.largest(b, rows, of_rows);
    code.pack(b, rows.begin, kInt8Panel, code.flip, of_rows, out.panel(p), out.scales() + uint64_t(p) * kInt8Panel,
              nullptr);
  }
}

uint64_t int8_workspace(uint32_t depth, Isa isa) {
  const Int8Code& code = int8_code(isa);
  const uint64_t tile = tile_bytes(depth, code) + code.rows * 2 * sizeof(float);
  return round_up(tiles_of_block(depth, code) * tile, 64);
}

uint32_t int8_tile_rows(Isa isa) { return int8_code(isa).rows; }

void int8_product(const ProductOperand& a, const Int8Panels& b, Range rows, Isa isa, float* d, uint64_t d_row,
                  std::span<uint8_t> workspace) {
  VIBEE_CHECK(a.depth == b.depth && a.depth <= kInt8MostDepth && workspace.size() >= int8_workspace(a.depth, isa));
  const Int8Code& code = int8_code(isa);
  const uint32_t most = tiles_of_block(a.depth, code);
  const uint64_t bytes = tile_bytes(a.depth, code);
  auto* const scales = reinterpret_cast<float*>(workspace.data() + most * bytes);
  auto* const sums = reinterpret_cast<int32_t*>(scales + uint64_t(most) * code.rows);
  if (code.begin != nullptr) code.begin();
  for (uint32_t begin = rows.begin; begin < rows.end; begin += most * code.rows) {
    const uint32_t end = std::min(rows.end, begin + most * code.rows);
    const uint32_t tiles = (end - begin + code.rows - 1) / code.rows;
    for (uint32_t t = 0; t < tiles; ++t) {
      const uint32_t first = begin + t * code.rows;
      float largest[kInt8MostRows];
      code.largest(a, {first, std::min(end, first + code.rows)}, largest);
      ProductOperand some = a;
      some.rows = end;  // what is behind is another thread's
      code.pack_rows(some, first, code.rows, 0, largest, workspace.data() + t * bytes, scales + t * code.rows,
                     sums + t * code.rows);
    }
    for (uint32_t p = 0; p < b.panels(); p += code.panels) {
      const uint32_t panels = std::min(code.panels, b.panels() - p), column = p * kInt8Panel;
      for (uint32_t t = 0; t < tiles; ++t) {
        const uint32_t first = begin + t * code.rows, m = std::min(code.rows, end - first);
        const Int8Finish finish{scales + t * code.rows,
                                b.scales() + column,
                                sums + t * code.rows,
                                d + first * d_row + column,
                                d_row,
                                m,
                                std::min(b.rows - column, panels * kInt8Panel)};
        code.tile(m, panels)(workspace.data() + t * bytes, b.panel(p), b.panel_bytes(), uint32_t(fours(a.depth)),
                             finish);
      }
    }
  }
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
