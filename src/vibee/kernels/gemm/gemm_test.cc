// SPDX-License-Identifier: Apache-2.0
// Every row of kernels.inc against the reference on random and edge shapes: integer formats by memcmp
// (tree/precision.md S4), and the reference itself against doubles.
#include "vibee/kernels/gemm/gemm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <utility>
#include <vector>

#include "vibee/base/math/half.h"
#include "vibee/base/random/philox.h"
#include "vibee/kernels/pointwise/pointwise.h"

namespace vibee {
namespace {

/// Random rows in the file's format: random codes, scales of ordinary size (also negative, zero and subnormal ones).
std::vector<uint8_t> random_rows(Format format, uint32_t n, uint32_t k, RandomStream& random) {
  std::vector<uint8_t> bytes(n * info(format).row_bytes(k));
  if (!is_integer(format)) {
    for (uint64_t i = 0; i < uint64_t(n) * k; ++i) {
      const float x = random.normal();
      const uint16_t h = format == Format::f16 ? float_to_half(x) : float_to_bf16(x);
      std::memcpy(bytes.data() + i * info(format).block_bytes,
                  format == Format::f32 ? static_cast<const void*>(&x) : &h, info(format).block_bytes);
    }
    return bytes;
  }
  for (uint8_t& b : bytes) b = uint8_t(random.bits());
  const auto scale = [&](uint8_t* at) {
    const uint32_t kind = random.below(16);
    const uint16_t h = kind == 0   ? uint16_t(0)
                       : kind == 1 ? uint16_t(random.below(1024))
                                   : float_to_half(0.1f * random.normal());
    std::memcpy(at, &h, 2);
  };
  // The halves of a block; MXFP4's exponents are kept near 2^-4, NVFP4's scales are as random as the codes.
  std::vector<uint32_t> halves = {0};
  switch (format) {
    case Format::q4_1:
    case Format::q5_1:
    case Format::q4_k:
    case Format::q5_k: halves = {0, 2}; break;
    case Format::q2_k: halves = {80, 82}; break;
    case Format::q3_k: halves = {108}; break;
    case Format::q6_k: halves = {208}; break;
    case Format::tq1_0: halves = {52}; break;
    case Format::tq2_0: halves = {64}; break;
    case Format::mxfp4:
    case Format::nvfp4: halves = {}; break;
    default: break;
  }
  for (uint64_t at = 0; at < bytes.size(); at += info(format).block_bytes) {
    for (const uint32_t offset : halves) scale(bytes.data() + at + offset);
    if (format == Format::mxfp4)
      bytes[at] = random.below(16) ? uint8_t(118 + random.below(10)) : uint8_t(random.below(3));
  }
  return bytes;
}

std::vector<uint8_t> pack(Format format, uint32_t nr, uint32_t n, uint32_t k, const std::vector<uint8_t>& rows) {
  const PackedWeight w{format, n, k, nr, nullptr};
  std::vector<uint8_t> out(w.bytes() + 64);
  for (uint32_t p = 0; p < w.panels(); ++p)
    pack_panel(format, nr, k, std::min(nr, n - p * nr), rows.data() + p * nr * info(format).row_bytes(k),
               out.data() + p * w.stride());
  return out;
}

std::vector<uint8_t> quantize(const std::vector<float>& x, uint32_t rows, uint32_t k) {
  std::vector<uint8_t> act(act_bytes(rows, k));
  for (uint32_t r = 0; r < rows; ++r) {
    const ActRow row = act_row(act.data(), rows, k, r);
    for (uint32_t b = 0; b < k / 32; ++b)
      pointwise_scalar.quantize_block(&x[r * k + b * 32], row.q(b), row.da(b), row.das(b), row.ns(b), row.ns0(b));
  }
  return act;
}

/// The contract, from the file's bytes; `exact` gets the same sum in double.
std::vector<float> reference(Format format, const std::vector<uint8_t>& rows, uint32_t n, uint32_t k,
                             std::vector<float> x, uint32_t m, std::vector<double>* exact, std::vector<double>* terms) {
  std::vector<float> out(m * n);
  exact->assign(m * n, 0);
  terms->assign(m * n, 0);
  std::vector<float> w(k);
  auto act = is_integer(format) ? quantize(x, m, k) : std::vector<uint8_t>();
  for (uint32_t j = 0; j < n; ++j) {
    const uint8_t* row = rows.data() + j * info(format).row_bytes(k);
    if (!is_integer(format)) info(format).decode(row, k, w.data());
    for (uint32_t i = 0; i < m; ++i) {
      float acc = 0;
      double sum = 0, size = 0;
      if (is_integer(format)) {
        const ActRow a = act_row(act.data(), m, k, i);
        for (uint32_t b = 0; b < k / 32; ++b) {
          const Block32 block = file_block(format, row, b);
          int32_t isum[2] = {0, 0}, qsum = 0;
          for (uint32_t e = 0; e < 32; ++e) {
            isum[e / 16] += block.sc[e / 16] * (int32_t(block.code[e]) - block.zero) * a.q(b)[e];
            qsum += block.mn[e / 16] * a.q(b)[e];
          }
          if (!block.split) isum[0] = std::exchange(isum[1], 0) + isum[0];
          for (uint32_t h = 0; h < (block.split ? 2u : 1u); ++h) {
            acc = std::fma(float(isum[h]) * block.dw[h], *a.da(b), acc);
            sum += double(isum[h]) * block.dw[h] * *a.da(b);
            size += std::fabs(double(isum[h]) * block.dw[h] * *a.da(b));
          }
          if (block.has_min) acc = std::fma(block.mw, *a.da(b) * float(qsum), acc);
          const double offset = block.has_min ? double(block.mw) * *a.da(b) * qsum : 0;
          sum += offset;
          size += std::fabs(offset);
        }
      } else {
        for (uint32_t e = 0; e < k; ++e) {
          acc = std::fma(x[i * k + e], w[e], acc);
          sum += double(x[i * k + e]) * w[e];
          size += std::fabs(double(x[i * k + e]) * w[e]);
        }
      }
      out[i * n + j] = acc;
      (*exact)[i * n + j] = sum;
      (*terms)[i * n + j] = size;
    }
  }
  return out;
}

TEST(Gemm, EveryKernelGivesTheReferencesBytes) {
  RandomStream random(21, Purpose::test);
  for (const GemmKernel& kernel : gemm_kernels()) {
    if (kernel.isa > detected_isa()) continue;
    const Format format = kernel.format;
    const uint32_t unit = is_integer(format) ? std::max(32u, info(format).block_elems) : 1;
    for (uint32_t rows : {1u, 2u, 3u, 4u, 5u, 7u, 12u, 13u, 16u, 23u, 24u, 37u, 61u}) {
      const uint32_t n = 1 + random.below(70), k = unit * (1 + random.below(unit == 1 ? 90 : unit == 32 ? 7 : 3));
      const auto bytes = random_rows(format, n, k, random);
      std::vector<float> x(rows * k);
      for (float& v : x) v = random.normal();
      if (rows == 7) std::fill(x.begin(), x.begin() + k, 0.0f);
      std::vector<double> exact, terms;
      const auto want = reference(format, bytes, n, k, x, rows, &exact, &terms);
      const uint32_t nr = panel_rows(format, kernel.isa);
      const auto panels = pack(format, nr, n, k, bytes);
      const PackedWeight w{format, n, k, nr, panels.data()};
      const auto act = is_integer(format) ? quantize(x, rows, k) : std::vector<uint8_t>();
      std::vector<float> got(rows * n, -1);
      matmul(kernel, w, {act.data(), is_integer(format) ? nullptr : x.data(), rows}, 0, w.panels(),
             [&](uint32_t panel, uint32_t row, uint32_t m, const float* tile) {
               for (uint32_t i = 0; i < m; ++i)
                 for (uint32_t j = 0; j < nr && panel * nr + j < n; ++j)
                   got[(row + i) * n + panel * nr + j] = tile[i * nr + j];
             });
      ASSERT_EQ(0, std::memcmp(want.data(), got.data(), want.size() * 4))
          << kernel.symbol << " rows " << rows << " n " << n << " k " << k;
      // k/16 roundings of the running sum at most (two a block, or one a term), each 2^-24 of what was summed so far.
      const double steps = is_integer(format) ? k / 16.0 + 2 : k;
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
      const uint32_t n = 37, k = 2 * std::max(32u, f.block_elems);
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
    std::vector<float> x(rows * k), weight(k), got(rows * n);
    for (float& v : x) v = random.normal();
    matmul(kernel, w, {nullptr, x.data(), rows}, 0, w.panels(),
           [&](uint32_t panel, uint32_t row, uint32_t m, const float* tile) {
             for (uint32_t i = 0; i < m; ++i)
               for (uint32_t j = 0; j < nr && panel * nr + j < n; ++j)
                 got[(row + i) * n + panel * nr + j] = tile[i * nr + j];
           });
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
