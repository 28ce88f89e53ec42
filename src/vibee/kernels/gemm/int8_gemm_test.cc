// SPDX-License-Identifier: Apache-2.0
// Products in 8-bit integers on every instruction set have the bytes of their definition.
#include "vibee/kernels/gemm/int8_gemm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "vibee/kernels/gemm/product_cases.h"

namespace vibee {
namespace {

std::vector<Isa> isas() {
  std::vector<Isa> all;
  for (int i = 0; i <= int(detected_isa()); ++i) all.push_back(Isa(i));
  return all;
}

std::vector<float> product(const ProductOperand& a, const ProductOperand& b, Int8Scale of_b, Isa isa) {
  AlignedBytes panels(int8_panel_bytes(b.rows, b.depth)), work(int8_workspace(a.depth, isa));
  const PackedPanels packed{panels.data(), b.rows, b.depth};
  int8_pack(b, of_b == Int8Scale::tensor ? int8_largest(b, {0, b.rows}, isa) : -1.0f, {0, packed.panels()}, isa,
            packed);
  std::vector<float> d(uint64_t(a.rows) * b.rows, -7.0f);
  // Two parts, as two threads have them.
  const uint32_t tile = int8_tile_rows(isa), half = std::min(a.rows, (a.rows / tile + 1) / 2 * tile);
  for (const Range rows : {Range{0, half}, Range{half, a.rows}})
    int8_product(a, packed, rows, isa, d.data(), b.rows, {work.data(), int8_workspace(a.depth, isa)});
  return d;
}

TEST(Int8Gemm, HasTheBytesOfItsDefinition) {
  struct Case {
    uint32_t m, n, k;
  };
  uint64_t seed = 0;
  for (const Case c : {Case{1, 1, 1}, {3, 17, 5}, {14, 32, 64}, {29, 33, 63}, {40, 48, 130}, {5, 100, 1029}})
    for (const bool a_across : {false, true})
      for (const bool b_across : {false, true})
        for (const Format element : {Format::f32, Format::bf16, Format::f16})
          for (const Int8Scale of_b : {Int8Scale::row, Int8Scale::tensor}) {
            const RandomOperand a(c.m, c.k, a_across, element, ++seed), b(c.n, c.k, b_across, element, ++seed);
            std::vector<float> want(uint64_t(c.m) * c.n);
            int8_product_reference(a.operand, b.operand, of_b, want.data(), c.n);
            for (const Isa isa : isas()) {
              const std::vector<float> got = product(a.operand, b.operand, of_b, isa);
              ASSERT_EQ(0, std::memcmp(got.data(), want.data(), 4 * want.size()))
                  << c.m << "x" << c.n << "x" << c.k << " " << a_across << b_across << " " << name(isa);
            }
          }
}

/// Codes of +-127 everywhere: pairs that 16 bits hold only just, and sums of a deep product.
TEST(Int8Gemm, LargestCodesDoNotOverflow) {
  constexpr uint32_t kDepth = kInt8MostDepth;
  RandomOperand a(2, kDepth, false, Format::f32, 1), b(3, kDepth, false, Format::f32, 2);
  for (size_t i = 0; i < a.floats.size(); ++i) a.floats[i] = 1;
  for (size_t i = 0; i < b.floats.size(); ++i) b.floats[i] = i < kDepth ? 1 : -1;
  std::vector<float> want(6);
  int8_product_reference(a.operand, b.operand, Int8Scale::tensor, want.data(), 3);
  EXPECT_NEAR(want[0], kDepth, kDepth * 1e-6);
  for (const Isa isa : isas()) EXPECT_EQ(product(a.operand, b.operand, Int8Scale::tensor, isa), want) << name(isa);
}

TEST(Int8Gemm, ZerosStayZerosAndWhatIsNotFiniteIsSeen) {
  RandomOperand a(20, 40, false, Format::f32, 1), b(18, 40, false, Format::f32, 2);
  for (uint32_t k = 0; k < 40; ++k) a.floats[40 + k] = 0, a.floats[80 + k] = 1e-38f;
  a.floats[3 * 40 + 7] = INFINITY;
  a.floats[4 * 40 + 8] = NAN;
  for (const Isa isa : isas()) {
    const std::vector<float> d = product(a.operand, b.operand, Int8Scale::row, isa);
    for (uint32_t j = 0; j < 18; ++j) {
      EXPECT_EQ(d[18 + j], 0);
      EXPECT_EQ(d[36 + j], 0);
      EXPECT_TRUE(std::isnan(d[54 + j]) && std::isnan(d[72 + j])) << name(isa);
      EXPECT_TRUE(std::isfinite(d[j]) && std::isfinite(d[90 + j])) << name(isa);
    }
    EXPECT_TRUE(std::isnan(int8_largest(a.operand, {0, 20}, isa)));
  }
}

/// |y - y'| <= sum over k of |a| sb / 2 + |b| sa / 2 + sa sb / 4.
TEST(Int8Gemm, ErrorsStayWithinTheirBound) {
  const RandomOperand a(30, 96, false, Format::f32, 3), b(50, 96, false, Format::f32, 4);
  std::vector<float> y(1500), sa(30), sb(50);
  std::vector<int8_t> q(5000);
  int8_codes_reference(a.operand, Int8Scale::row, q.data(), sa.data());
  int8_codes_reference(b.operand, Int8Scale::tensor, q.data(), sb.data());
  int8_product_reference(a.operand, b.operand, Int8Scale::tensor, y.data(), 50);
  for (uint32_t i = 0; i < 30; ++i)
    for (uint32_t j = 0; j < 50; ++j) {
      double exact = 0, bound = 0;
      for (uint32_t k = 0; k < 96; ++k) {
        const double x = a.floats[i * 96 + k], w = b.floats[j * 96 + k];
        exact += x * w;
        bound += std::fabs(x) * sb[j] / 2 + std::fabs(w) * sa[i] / 2 + double(sa[i]) * sb[j] / 4;
      }
      EXPECT_LE(std::fabs(y[i * 50 + j] - exact), bound * 1.0001);
    }
}

}  // namespace
}  // namespace vibee
