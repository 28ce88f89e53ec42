// SPDX-License-Identifier: Apache-2.0
// Small floats of products beside the codecs of formats/float, on every instruction set.
#include "vibee/kernels/gemm/round_operand.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "vibee/base/math/half.h"
#include "vibee/base/random/philox.h"
#include "vibee/formats/float/minifloat.h"
#include "vibee/formats/packed/format.h"

namespace vibee {
namespace {

std::vector<Isa> isas() {
  std::vector<Isa> all;
  for (int i = 0; i <= int(detected_isa()); ++i) all.push_back(Isa(i));
  return all;
}
std::vector<float> widened(const std::vector<uint16_t>& x) {
  std::vector<float> out;
  for (const uint16_t v : x) out.push_back(bf16_to_float(v));
  return out;
}

/// Every 509th float of either sign, and all neighbours of halves between two codes.
template <class F>
void round_like_codec(OperandForm form) {
  std::vector<float> x;
  for (uint64_t bits = 0; bits < 0x7f800000; bits += 509) x.push_back(std::bit_cast<float>(uint32_t(bits)));
  for (uint32_t c = 0; c < F::kLargest; ++c) {
    const float tie = (F::decode(c) + F::decode(c + 1)) / 2;
    for (const float v : {std::nextafter(tie, 0.0f), tie, std::nextafter(tie, 1e9f)}) x.push_back(v);
  }
  for (size_t i = 0, n = x.size(); i < n; ++i) x.push_back(-x[i]);
  for (const Isa isa : isas()) {
    std::vector<uint16_t> y(x.size());
    small_float_kernels(isa).scaled(x.data(), Format::f32, x.size(), info(form).to, 1, y.data());
    for (size_t i = 0; i < x.size(); ++i)
      ASSERT_EQ(bf16_to_float(y[i]), F::decode(F::encode(x[i]))) << x[i] << " " << name(isa);
  }
}
TEST(RoundOperand, HasTheValuesOfTheCodecs) {
  round_like_codec<E4m3>(OperandForm::e4m3);
  round_like_codec<E5m2>(OperandForm::e5m2);
}

TEST(RoundOperand, BlocksAreThoseOfTheFormats) {
  RandomStream random(3, Purpose::test);
  constexpr uint32_t kRows = 64, kColumns = 96;
  std::vector<float> x(kRows * kColumns), turned(x.size());
  for (float& v : x) v = std::ldexp(random.normal(), int(random.below(30)) - 15);
  for (uint32_t r = 0; r < kRows; ++r)
    for (uint32_t c = 0; c < kColumns; ++c) turned[c * kRows + r] = x[r * kColumns + c];
  for (const auto& [form, format] :
       {std::pair{OperandForm::mx_e4m3, Format::mxfp8}, {OperandForm::mx_e5m2, Format::mxfp8e5m2}}) {
    std::vector<uint8_t> codes(2 * x.size());
    std::vector<float> along(x.size()), across(x.size());
    info(format).encode(x.data(), x.size(), nullptr, codes.data());
    info(format).decode(codes.data(), x.size(), along.data());
    info(format).encode(turned.data(), x.size(), nullptr, codes.data());
    info(format).decode(codes.data(), x.size(), across.data());
    for (const Isa isa : isas()) {
      std::vector<uint16_t> y(x.size());
      for (uint32_t r = 0; r < kRows; ++r)
        small_float_kernels(isa).along(&x[r * kColumns], Format::f32, kColumns, info(form).to, &y[r * kColumns]);
      EXPECT_EQ(widened(y), along) << name(isa);
      for (uint32_t r = 0; r < kRows; r += 32)
        small_float_kernels(isa).across(&x[r * kColumns], Format::f32, kColumns, 32, kColumns, info(form).to,
                                        &y[r * kColumns]);
      for (uint32_t r = 0; r < kRows; ++r)
        for (uint32_t c = 0; c < kColumns; ++c)
          ASSERT_EQ(bf16_to_float(y[r * kColumns + c]), across[c * kRows + r]) << name(isa);
    }
  }
}

TEST(RoundOperand, WhatIsNotFiniteStaysSo) {
  std::vector<float> x(100, 1.0f);
  x[40] = INFINITY, x[70] = NAN;
  for (const Isa isa : isas()) {
    std::vector<uint16_t> y(100);
    EXPECT_FALSE(std::isfinite(
        small_float_kernels(isa).scaled(x.data(), Format::f32, 100, info(OperandForm::e5m2).to, 2, y.data())));
    for (size_t i = 0; i < 100; ++i) EXPECT_EQ(std::isnan(bf16_to_float(y[i])), i == 40 || i == 70) << i;
    small_float_kernels(isa).along(x.data(), Format::f32, 100, info(OperandForm::mx_e4m3).to, y.data());
    for (size_t i = 0; i < 100; ++i) EXPECT_EQ(std::isnan(bf16_to_float(y[i])), i >= 32 && i < 96) << i;
    EXPECT_FALSE(std::isfinite(small_float_kernels(isa).largest(x.data(), Format::f32, 100)));
    EXPECT_EQ(small_float_kernels(isa).largest(x.data(), Format::f32, 30), 1.0f);
  }
}

}  // namespace
}  // namespace vibee
