// SPDX-License-Identifier: Apache-2.0
// Rows with outliers apart against the contract of outliers.h by memcmp: every integer row of kernels.inc.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>

#include "vibee/kernels/gemm/outlier_cases.h"

namespace vibee {
namespace {

std::vector<float> normal_rows(uint32_t count, RandomStream& random) {
  std::vector<float> x(count);
  for (float& v : x) v = random.normal();
  return x;
}

/// Thresholds from one that leaves nothing to the codes to one that nothing reaches.
TEST(Outliers, EveryKernelGivesTheReferencesBytes) {
  RandomStream random(31, Purpose::test);
  for (const GemmKernel& kernel : gemm_kernels()) {
    if (kernel.isa > detected_isa() || !is_integer(kernel.format)) continue;
    if (act_rule_group(act_rule(kernel.format)) != 0) continue;  // have none, see below
    const Format format = kernel.format;
    const uint32_t unit = row_unit(format), nr = panel_rows(format, kernel.isa);
    for (const uint32_t rows : {1u, 2u, 4u, 5u, 12u, 13u, 29u})
      for (const float threshold : {1e-30f, 1.0f, 2.5f, 100.0f}) {
        const uint32_t n = 1 + random.below(40), k = unit * (1 + random.below(unit == 32 ? 5 : 2));
        const auto bytes = random_rows(format, n, k, random);
        const auto x = normal_rows(rows * k, random);
        const auto panels = pack(format, nr, n, k, bytes);
        const PackedWeight w{format, n, k, nr, panels.data()};
        const auto want = reference_apart(format, threshold, bytes, n, k, x, rows);
        const auto act = quantize_rows_apart(format, threshold, x, rows, k, kernel.isa);
        const auto got = multiply_apart(kernel, w, act, rows);
        ASSERT_EQ(0, std::memcmp(want.data(), got.data(), want.size() * 4))
            << kernel.symbol << " rows " << rows << " n " << n << " k " << k << " threshold " << threshold;
      }
  }
}

TEST(Outliers, ARowsBytesAreItsOwn) {
  RandomStream random(32, Purpose::test);
  constexpr uint32_t k = 256, n = 24, rows = 13;
  for (const Format format : {Format::q8_0, Format::q4_k, Format::qoq128}) {
    const GemmKernel& kernel = gemm_kernel(format, detected_isa());
    const auto bytes = random_rows(format, n, k, random);
    const auto panels = pack(format, panel_rows(format, kernel.isa), n, k, bytes);
    const PackedWeight w{format, n, k, panel_rows(format, kernel.isa), panels.data()};
    const auto x = normal_rows(rows * k, random);
    const auto all = multiply_apart(kernel, w, quantize_rows_apart(format, 2, x, rows, k, kernel.isa), rows);
    for (uint32_t r = 0; r < rows; ++r) {
      const std::vector<float> one(x.begin() + r * k, x.begin() + (r + 1) * k);
      const auto alone = multiply_apart(kernel, w, quantize_rows_apart(format, 2, one, 1, k, kernel.isa), 1);
      EXPECT_EQ(0, std::memcmp(alone.data(), &all[r * n], n * 4)) << info(format).name << " row " << r;
    }
  }
}

TEST(Outliers, WithoutAnyRowsAreThoseOfPlainQuantisation) {
  RandomStream random(33, Purpose::test);
  constexpr uint32_t k = 160;
  for (const bool finite : {true, false})
    for (const uint32_t rows : {1u, 7u}) {
      auto x = normal_rows(rows * k, random);
      if (!finite) {  // what is not finite is no outlier
        x[3] = std::numeric_limits<float>::infinity();
        x[k - 1] = std::numeric_limits<float>::quiet_NaN();
      }
      constexpr float kNever = std::numeric_limits<float>::infinity();
      for (const auto& [format, threshold] :  // rows of four bits keep theirs in the group of eight
           {std::pair{Format::q8_0, kNever}, {Format::qoq32, kNever}, {Format::i4a32, 1.0f}, {Format::atom32, 1.0f}}) {
        const auto plain = quantize(format, x, rows, k);
        const auto apart = quantize_rows_apart(format, threshold, x, rows, k, detected_isa());
        EXPECT_EQ(0, std::memcmp(plain.data(), apart.data(), plain.size())) << info(format).name << finite;
        for (uint32_t r = 0; r < rows; ++r)
          EXPECT_EQ(outlier_row(const_cast<uint8_t*>(apart.data()), rows, k, r)->column, 0u);
      }
    }
}

TEST(Outliers, AreListedInOrderAndLeftOutOfTheScale) {
  constexpr uint32_t k = 64;
  std::vector<float> x(k, 0.5f);
  x[2] = -6, x[31] = 5.99f, x[40] = 1e30f, x[63] = 7;
  const auto act = quantize_rows_apart(Format::q8_0, 6, x, 1, k, detected_isa());
  const Outlier* o = outlier_row(const_cast<uint8_t*>(act.data()), 1, k, 0);
  ASSERT_EQ(o[0].column, 3u);
  const uint32_t columns[] = {2, 40, 63};
  for (uint32_t i = 0; i < 3; ++i) {
    EXPECT_EQ(o[1 + i].column, columns[i]);
    EXPECT_EQ(o[1 + i].value, x[columns[i]]);
  }
  const ActRow row = act_row(const_cast<uint8_t*>(act.data()), 1, k, 0);
  EXPECT_EQ(*row.da(0), 5.99f / 127);
  EXPECT_EQ(*row.da(1), 0.5f / 127);
  EXPECT_EQ(row.q(0)[2], 0);
  EXPECT_EQ(row.q(1)[8], 0);
  EXPECT_EQ(row.q(1)[0], 127);
}

/// bitsandbytes' own product of such rows (tools/make_llm_int8_goldens.py) beside that of exact arithmetic. Its scales
/// are of whole rows, ours of 32 elements of them, so ours is the nearer one; without a threshold both lose far more.
TEST(Outliers, AreAsNearAsBitsandbytes) {
  constexpr uint32_t rows = 16, n = 24, k = 256, block = 128;
  std::ifstream in(VIBEE_SOURCE_DIR "/data/golden/llm_int8.bin", std::ios::binary);
  std::vector<float> x(rows * k), scale(n), theirs(rows * n);
  std::vector<int8_t> codes(n * k);
  const auto read = [&](auto& to) {
    in.read(reinterpret_cast<char*>(to.data()), std::streamsize(to.size() * sizeof to[0]));
  };
  read(x), read(codes), read(scale), read(theirs);
  ASSERT_TRUE(in.good());
  std::vector<uint8_t> bytes;
  for (uint32_t j = 0; j < n; ++j)
    for (uint32_t b = 0; b < k / block; ++b) {
      const auto* s = reinterpret_cast<const uint8_t*>(&scale[j]);
      bytes.insert(bytes.end(), s, s + 4);
      const auto* c = reinterpret_cast<const uint8_t*>(&codes[j * k + b * block]);
      bytes.insert(bytes.end(), c, c + block);
    }
  const Format format = Format::i8s128;
  const GemmKernel& kernel = gemm_kernel(format, detected_isa());
  const auto panels = pack(format, panel_rows(format, kernel.isa), n, k, bytes);
  const PackedWeight w{format, n, k, panel_rows(format, kernel.isa), panels.data()};
  const auto off = [&](const std::vector<float>& y) {
    double sum = 0;
    for (uint32_t r = 0; r < rows; ++r)
      for (uint32_t j = 0; j < n; ++j) {
        double exact = 0;
        for (uint32_t i = 0; i < k; ++i) exact += double(x[r * k + i]) * codes[j * k + i] * scale[j];
        sum += (y[r * n + j] - exact) * (y[r * n + j] - exact);
      }
    return std::sqrt(sum / (rows * n));
  };
  const auto ours = [&](float threshold) {
    return off(multiply_apart(kernel, w, quantize_rows_apart(format, threshold, x, rows, k, kernel.isa), rows));
  };
  EXPECT_LT(off(theirs), 0.01);
  EXPECT_LE(ours(6), off(theirs));
  EXPECT_GT(ours(std::numeric_limits<float>::infinity()), 1.5 * ours(6));
}

}  // namespace
}  // namespace vibee
