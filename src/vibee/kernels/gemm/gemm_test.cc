// SPDX-License-Identifier: Apache-2.0
// Every row of kernels.inc against the reference on random and edge shapes: integer formats by memcmp
// (tree/precision.md S4), and the reference itself against doubles.
#include <gtest/gtest.h>

#include "vibee/kernels/gemm/bf16_gemm.h"
#include "vibee/kernels/gemm/gemm_cases.h"

namespace vibee {
namespace {

TEST(Gemm, EveryKernelGivesTheReferencesBytes) {
  RandomStream random(21, Purpose::test);
  for (const GemmKernel& kernel : gemm_kernels()) {
    if (kernel.isa > detected_isa()) continue;
    const Format format = kernel.format;
    const uint32_t unit = row_unit(format);
    for (uint32_t rows : {1u, 2u, 3u, 4u, 5u, 7u, 12u, 13u, 16u, 23u, 24u, 37u, 61u}) {
      const uint32_t n = 1 + random.below(70), k = unit * (1 + random.below(unit == 1          ? 90
                                                                            : is_table(format) ? 40
                                                                            : unit == 32       ? 7
                                                                                               : 3));
      const auto bytes = random_rows(format, n, k, random);
      std::vector<float> x(rows * k);
      for (float& v : x) v = random.normal();
      if (rows == 7) std::fill(x.begin(), x.begin() + k, 0.0f);
      std::vector<double> exact, terms;
      const auto want = reference(format, bytes, n, k, x, rows, &exact, &terms);
      const uint32_t nr = panel_rows(format, kernel.isa);
      const auto panels = pack(format, nr, n, k, bytes);
      const PackedWeight w{format, n, k, nr, panels.data()};
      const auto act = is_integer(format) ? quantize(format, x, rows, k) : std::vector<uint8_t>();
      const std::vector<float> got = multiply(kernel, w, act, x, rows);
      ASSERT_EQ(0, std::memcmp(want.data(), got.data(), want.size() * 4))
          << kernel.symbol << " rows " << rows << " n " << n << " k " << k;
      const double steps = rounding_steps(format, k);
      for (size_t i = 0; i < want.size(); ++i)
        ASSERT_NEAR(want[i], exact[i], steps * 0x1p-23 * terms[i] + 1e-30) << kernel.symbol;
    }
  }
}

TEST(Gemm, PanelsKeepEveryValue) {
  RandomStream random(22, Purpose::test);
  for (const NumericFormat& f : all_formats()) {
    for (uint32_t nr : {8u, 16u}) {
      if (!is_integer(f.format) && nr == 8) continue;
      const uint32_t n = 37, k = is_table(f.format) ? 1120 : 2 * std::max(32u, f.block_elems);
      const auto bytes = random_rows(f.format, n, k, random);
      const auto panels = pack(f.format, nr, n, k, bytes);
      const PackedWeight w{f.format, n, k, nr, panels.data()};
      std::vector<float> want(k), got(k);
      for (uint32_t row = 0; row < n; ++row) {
        f.decode(bytes.data() + row * f.row_bytes(k), k, want.data());
        decode_row(w, row, got.data());
        ASSERT_EQ(0, std::memcmp(want.data(), got.data(), k * 4)) << f.name << " nr " << nr << " row " << row;
      }
    }
  }
}

TEST(Gemm, FloatRowsMeetIntegerWeightsDecoded) {
  RandomStream random(23, Purpose::test);
  for (const GemmKernel& kernel : gemm_kernels()) {
    if (kernel.isa > detected_isa() || !is_integer(kernel.format)) continue;
    const uint32_t n = 21, k = std::max(64u, info(kernel.format).block_elems), rows = 13,
                   nr = panel_rows(kernel.format, kernel.isa);
    const auto bytes = random_rows(kernel.format, n, k, random);
    const auto panels = pack(kernel.format, nr, n, k, bytes);
    const PackedWeight w{kernel.format, n, k, nr, panels.data()};
    std::vector<float> x(rows * k), weight(k);
    for (float& v : x) v = random.normal();
    const std::vector<float> got = multiply(kernel, w, {}, x, rows);
    for (uint32_t j = 0; j < n; ++j) {
      info(kernel.format).decode(bytes.data() + j * info(kernel.format).row_bytes(k), k, weight.data());
      for (uint32_t i = 0; i < rows; ++i) {
        float acc = 0;
        for (uint32_t e = 0; e < k; ++e) acc = std::fma(x[i * k + e], weight[e], acc);
        ASSERT_EQ(acc, got[i * n + j]) << kernel.symbol;
      }
    }
  }
}

/// Rows in bf16 by weights decoded to bf16, in the order of bf16_gemm.h; a factor of a row comes behind the sum.
TEST(Gemm, RowsInBf16MeetWeightsInBf16) {
  RandomStream random(25, Purpose::test);
  for (const GemmKernel& kernel : gemm_kernels()) {
    if (kernel.isa > detected_isa() || !kernel.bf16 || !kernel.bf16->unpack) continue;
    const NumericFormat& f = info(kernel.format);
    for (const uint32_t rows : {32u, 33u, 47u, 48u, 61u, 200u}) {
      const uint32_t n = 1 + random.below(70), k = row_unit(kernel.format) * (1 + random.below(3)),
                     nr = panel_rows(kernel.format, kernel.isa);
      const auto bytes = random_rows(kernel.format, n, k, random);
      const auto panels = pack(kernel.format, nr, n, k, bytes);
      const PackedWeight w{kernel.format, n, k, nr, panels.data()};
      std::vector<float> x(rows * k), weight(n * k), want(rows * n), got(rows * n);
      for (float& v : x) v = random.normal();
      for (uint32_t j = 0; j < n; ++j) {
        f.decode(bytes.data() + j * f.row_bytes(k), k, &weight[j * k]);
        const float factor = file_block(kernel.format, bytes.data() + j * f.row_bytes(k), k, 0).row_scale;
        for (uint32_t i = 0; i < k && factor != 0; ++i) weight[j * k + i] /= factor;
      }
      bf16_product_reference({x.data(), Format::f32, k, false, rows, k}, {weight.data(), Format::f32, k, false, n, k},
                             want.data(), n);
      std::vector<uint8_t> in(bf16_row_bytes(rows, k) + 64), ready(panel_scratch(kernel, k, rows, RowForm::bf16));
      uint8_t* const aligned = in.data() + (64 - reinterpret_cast<uintptr_t>(in.data()) % 64) % 64;
      for (uint32_t i = 0; i < rows; ++i)
        for (uint32_t b = 0; b < k / 32; ++b)
          pointwise(Isa::scalar).to_bf16(&x[i * k + 32 * b], 32, bf16_row_block(aligned, k, i, b));
      MatmulInput input{nullptr, nullptr, rows, ready.data(), aligned};
      matmul(kernel, w, input, 0, w.panels(), [&](uint32_t panel, uint32_t row, uint32_t m, const float* tile) {
        for (uint32_t i = 0; i < m; ++i)
          for (uint32_t j = 0; j < nr && panel * nr + j < n; ++j)
            got[(row + i) * n + panel * nr + j] = tile[i * nr + j];
      });
      for (uint32_t j = 0; j < n; ++j) {
        const float factor = file_block(kernel.format, bytes.data() + j * f.row_bytes(k), k, 0).row_scale;
        for (uint32_t i = 0; i < rows; ++i) {
          // Subnormal numbers count as zeros. Scale and zero point in float32 meet a code in one fma, where the
          // format's own decoding rounds twice: the weights may fall to the other neighbour in bf16.
          double allowed = 1e-37 * k;
          const PanelHeader header = panel_layout(kernel.format).header;
          for (uint32_t e = 0; e < k && (has_zeros(header) || has_offsets(header)); ++e)
            allowed += 0x1p-8 * std::fabs(x[i * k + e] * weight[j * k + e]);
          ASSERT_NEAR(want[i * n + j] * factor, got[i * n + j], allowed)
              << kernel.symbol << " rows " << rows << " n " << n << " k " << k << " at " << i << ", " << j;
        }
      }
    }
  }
}

TEST(Gemm, PanelsTakeTheFilesBytes) {
  for (const NumericFormat& f : all_formats()) {
    // Scales unpacked to whole bytes are 4 more in a superblock of 256; TQ1_0 stands as TQ2_0 does.
    const NumericFormat& stored = f.format == Format::tq1_0 ? info(Format::tq2_0) : f;
    const uint64_t unpacked = superblock(panel_layout(f.format).header) == 256 ? 4 : 0;
    EXPECT_LE(panel_bytes(f.format, 16, 256), 16 * (stored.row_bytes(256) + unpacked)) << f.name;
  }
}

}  // namespace
}  // namespace vibee
