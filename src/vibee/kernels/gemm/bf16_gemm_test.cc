// SPDX-License-Identifier: Apache-2.0
// Products in bf16 on every instruction set have the bytes of their definition.
#include "vibee/kernels/gemm/bf16_gemm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "vibee/kernels/gemm/product_cases.h"

namespace vibee {
namespace {

std::vector<float> product(const ProductOperand& a, const ProductOperand& b, Isa isa) {
  AlignedBytes panels(bf16_panel_bytes(b.rows, b.depth)), work(bf16_workspace(a.depth, isa));
  const PackedPanels packed = bf16_panels(panels.data(), b.rows, b.depth);
  bf16_pack(b, {0, packed.panels()}, isa, packed);
  std::vector<float> d(uint64_t(a.rows) * b.rows, -7.0f);
  // Two parts, as two threads have them.
  const uint32_t tile = bf16_tile_rows(isa), half = std::min(a.rows, (a.rows / tile + 1) / 2 * tile);
  for (const Range rows : {Range{0, half}, Range{half, a.rows}})
    bf16_product(a, packed, rows, isa, d.data(), b.rows, {work.data(), bf16_workspace(a.depth, isa)});
  return d;
}

TEST(Bf16Gemm, HasTheBytesOfItsDefinition) {
  struct Case {
    uint32_t m, n, k;
  };
  uint64_t seed = 0;
  for (const Case c : {Case{1, 1, 1}, {3, 17, 5}, {14, 32, 64}, {29, 33, 63}, {40, 48, 130}, {70, 100, 1029}})
    for (const bool a_across : {false, true})
      for (const bool b_across : {false, true})
        for (const Format element : {Format::f32, Format::bf16, Format::f16}) {
          const RandomOperand a(c.m, c.k, a_across, element, ++seed), b(c.n, c.k, b_across, element, ++seed);
          std::vector<float> want(uint64_t(c.m) * c.n);
          bf16_product_reference(a.operand, b.operand, want.data(), c.n);
          for (const Isa isa : kIsas) {
            if (isa > detected_isa()) continue;
            const std::vector<float> got = product(a.operand, b.operand, isa);
            ASSERT_EQ(0, std::memcmp(got.data(), want.data(), 4 * want.size()))
                << c.m << "x" << c.n << "x" << c.k << " " << a_across << b_across << " " << name(isa);
          }
        }
}

/// Parts of a product: some panels of b, and blocks of depth that go on with the sums of those before.
TEST(Bf16Gemm, PartsMakeTheWhole) {
  constexpr uint32_t kM = 37, kN = 75, kK = 150;
  for (const bool across : {false, true}) {
    const RandomOperand a(kM, kK, across, Format::f32, 5), b(kN, kK, !across, Format::f32, 6);
    for (const Isa isa : kIsas) {
      if (isa > detected_isa()) continue;
      const std::vector<float> want = product(a.operand, b.operand, isa);
      AlignedBytes panels(bf16_panel_bytes(kN, kK)), work(bf16_workspace(kK, isa));
      const PackedPanels all = bf16_panels(panels.data(), kN, kK);
      bf16_pack(b.operand, {0, all.panels()}, isa, all);
      std::vector<float> got(kM * kN, -7.0f);
      for (const Range columns : {Range{0, 2}, Range{2, 5}})
        for (uint32_t k = 0; k < kK; k += 64) {
          ProductOperand some = a.operand;
          some.depth = std::min(64u, kK - k);
          some.p = a.floats.data() + (across ? k * some.ld : k);
          bf16_product(some, all.part(columns.begin, columns.end, k, some.depth), {0, kM}, isa,
                       got.data() + 16 * columns.begin, kN, {work.data(), bf16_workspace(kK, isa)}, k > 0);
        }
      EXPECT_EQ(0, std::memcmp(got.data(), want.data(), 4 * want.size())) << name(isa) << across;
    }
  }
}

/// Half a unit of the last of 8 bits an operand, and roundings of a sum of so many terms.
TEST(Bf16Gemm, IsAsNearAsItsBitsSay) {
  constexpr uint32_t kM = 20, kN = 24, kK = 500;
  const RandomOperand a(kM, kK, false, Format::f32, 1), b(kN, kK, false, Format::f32, 2);
  const std::vector<float> got = product(a.operand, b.operand, detected_isa());
  for (uint32_t i = 0; i < kM; ++i)
    for (uint32_t j = 0; j < kN; ++j) {
      double sum = 0, size = 0;
      for (uint32_t k = 0; k < kK; ++k) {
        const double term = double(a.floats[i * kK + k]) * double(b.floats[j * kK + k]);
        sum += term, size += std::fabs(term);
      }
      EXPECT_NEAR(got[i * kN + j], sum, size * (0x1p-8 + 0x1p-18 + (kK / 16.0 + 3) * 0x1p-24));
    }
}

/// Steps of fewer rows have the memory of the largest.
TEST(Bf16Gemm, LessDepthTakesNoMoreMemory) {
  for (const Isa isa : kIsas)
    for (uint32_t depth = 1; depth < 9000; depth += 37)
      EXPECT_LE(bf16_workspace(depth, isa), bf16_workspace(depth + 37, isa));
}

/// A number that is none stays in its row and its column.
TEST(Bf16Gemm, WhatIsNotFiniteStaysWhereItIs) {
  RandomOperand a(20, 70, false, Format::f32, 3), b(40, 70, false, Format::f32, 4);
  a.floats[7 * 70 + 69] = NAN, b.floats[33 * 70] = INFINITY;
  for (const Isa isa : kIsas) {
    if (isa > detected_isa()) continue;
    const std::vector<float> got = product(a.operand, b.operand, isa);
    for (uint32_t i = 0; i < 20; ++i)
      for (uint32_t j = 0; j < 40; ++j) EXPECT_EQ(std::isfinite(got[i * 40 + j]), i != 7 && j != 33) << name(isa);
  }
}

}  // namespace
}  // namespace vibee
