// SPDX-License-Identifier: Apache-2.0
// Cases of the matmul family for its test, check and bench: random weights in a file's format, packed and multiplied by
// a row of kernels.inc, and the contract of tree/precision.md S4 computed from the file's bytes.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>
#include <vector>

#include "vibee/base/math/half.h"
#include "vibee/base/random/philox.h"
#include "vibee/kernels/gemm/gemm.h"
#include "vibee/kernels/gemm/quantize_row.h"
#include "vibee/kernels/pointwise/pointwise.h"

namespace vibee {

/// Random rows in the file's format: random codes, scales of ordinary size (also negative, zero and subnormal ones).
inline std::vector<uint8_t> random_rows(Format format, uint32_t n, uint32_t k, RandomStream& random) {
  std::vector<uint8_t> bytes(n * info(format).row_bytes(k));
  const PanelHeader header = panel_layout(format).header;
  if (is_table(format)) {
    for (uint8_t& b : bytes) b = uint8_t(random.bits());
    for (uint64_t row = 0; row < bytes.size(); row += info(format).row_bytes(k))
      for (uint32_t i = 0; i < info(format).head_bytes; i += 2) {
        const uint16_t h = random.below(16) ? float_to_half(random.normal()) : uint16_t(random.below(1024));
        std::memcpy(bytes.data() + row + i, &h, 2);
      }
    return bytes;
  }
  if (!is_integer(format) && header == PanelHeader::none) {
    for (uint64_t i = 0; i < uint64_t(n) * k; ++i) {
      const float x = random.normal();
      const uint16_t h = format == Format::f16 ? float_to_half(x) : float_to_bf16(x);
      std::memcpy(bytes.data() + i * info(format).block_bytes,
                  format == Format::f32 ? static_cast<const void*>(&x) : &h, info(format).block_bytes);
    }
    return bytes;
  }
  for (uint8_t& b : bytes) b = uint8_t(random.bits());
  const Codes codes = panel_layout(format).codes;
  if (codes == Codes::e4m3 || codes == Codes::e5m2)  // numbers alone
    for (uint8_t& b : bytes) b = codes == Codes::e4m3 ? ((b & 0x7f) == 0x7f ? 0 : b) : ((b & 0x7c) == 0x7c ? 0 : b);
  const auto scale = [&](uint8_t* at) {
    const uint32_t kind = random.below(16);
    const uint16_t h = kind == 0   ? uint16_t(0)
                       : kind == 1 ? uint16_t(random.below(1024))
                                   : float_to_half(0.1f * random.normal());
    std::memcpy(at, &h, 2);
  };
  const uint32_t head = info(format).head_bytes;  // of an integer format: codes, or a scale
  for (uint64_t row = 0; panel_layout(format).row_scale && row < bytes.size(); row += info(format).row_bytes(k)) {
    const float x = random.below(16) ? 0.1f * random.normal() : 0;
    std::memcpy(bytes.data() + row, &x, 4);
  }
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
    case Format::nvfp4:
    case Format::nvfp4s: halves = {}; break;
    default: break;
  }
  if (has_float_scales(header)) {
    halves = {};
    for (uint64_t at = 0; at < bytes.size(); at += info(format).block_bytes)
      for (uint32_t field = 0; field < (has_offsets(header) ? 2u : 1u); ++field) {
        const uint32_t kind = random.below(16);
        const float x = kind == 0 ? 0 : kind == 1 ? 1e-41f : 0.1f * random.normal();
        std::memcpy(bytes.data() + at + 4 * field, &x, 4);
      }
  }
  if (header == PanelHeader::e8) halves = {};
  if (has_row_scales(header)) {  // one scale a row
    halves = {};
    const uint64_t row_bytes = info(format).row_bytes(k);
    for (uint64_t row = 0; row < bytes.size(); row += row_bytes) {
      scale(bytes.data() + row);
      for (uint64_t at = row; at < row + row_bytes; at += info(format).block_bytes)
        std::memmove(bytes.data() + at, bytes.data() + row, 2);
    }
  }
  for (uint64_t row = 0; row < bytes.size(); row += info(format).row_bytes(k))
    for (uint64_t at = row + head; at < row + info(format).row_bytes(k); at += info(format).block_bytes) {
      for (const uint32_t offset : halves) scale(bytes.data() + at + offset);
      if (header == PanelHeader::e8)
        bytes[at] = random.below(16) ? uint8_t(118 + random.below(10)) : uint8_t(random.below(3));
    }
  return bytes;
}

/// The panels of a matrix [n, k] given as file rows.
inline std::vector<uint8_t> pack(Format format, uint32_t nr, uint32_t n, uint32_t k, const std::vector<uint8_t>& rows) {
  const PackedWeight w{format, n, k, nr, nullptr};
  std::vector<uint8_t> out(w.bytes() + 64);
  for (uint32_t p = 0; p < w.panels(); ++p)
    pack_panel(format, nr, k, std::min(nr, n - p * nr), rows.data() + p * nr * info(format).row_bytes(k),
               out.data() + p * w.stride());
  return out;
}

/// `rows` float rows as the integer kernels take them.
inline std::vector<uint8_t> quantize(Format format, const std::vector<float>& x, uint32_t rows, uint32_t k) {
  std::vector<uint8_t> act(act_bytes(rows, k));
  for (uint32_t r = 0; r < rows; ++r)
    quantize_row(pointwise_scalar, act_rule(format), &x[r * k], k, act_row(act.data(), rows, k, r));
  return act;
}

/// The contract, from the file's bytes; `exact` gets the same sum in double.
inline std::vector<float> reference(Format format, const std::vector<uint8_t>& rows, uint32_t n, uint32_t k,
                                    std::vector<float> x, uint32_t m, std::vector<double>* exact,
                                    std::vector<double>* terms) {
  std::vector<float> out(m * n);
  exact->assign(m * n, 0);
  terms->assign(m * n, 0);
  std::vector<float> w(k);
  auto act = is_integer(format) ? quantize(format, x, m, k) : std::vector<uint8_t>();
  for (uint32_t j = 0; j < n; ++j) {
    const uint8_t* row = rows.data() + j * info(format).row_bytes(k);
    if (!is_integer(format)) info(format).decode(row, k, w.data());
    for (uint32_t i = 0; i < m; ++i) {
      float acc = 0, row_scale = 0;
      int32_t row_sum = 0;
      double sum = 0, size = 0;
      if (is_integer(format)) {
        const ActRow a = act_row(act.data(), m, k, i);
        for (uint32_t b = 0; b < k / 32; ++b) {
          const Block32 block = file_block(format, row, k, b);
          int32_t isum[2] = {0, 0}, qsum = 0;
          for (uint32_t e = 0; e < 32; ++e) {
            isum[e / 16] += block.sc[e / 16] * (int32_t(block.code[e]) - block.zero) * a.q(b)[e];
            qsum += block.mn[e / 16] * a.q(b)[e];
          }
          const uint32_t group = act_rule_group(act_rule(format)) / 32;
          row_sum += isum[0] + isum[1];
          row_scale = block.dw[0];
          if (group != 0) {  // all of it meets the scales at once
            isum[0] = (b + 1) % group == 0 ? std::exchange(row_sum, 0) : 0;
            isum[1] = 0;
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
        if (act_rule(format) == ActRule::row) acc = float(row_sum) * row_scale * *a.da(0);
        const float factor = file_block(format, row, k, 0).row_scale;
        acc = acc * factor;
        sum = sum * double(factor);
        size = size * std::fabs(double(factor));
      } else {
        float lane[16] = {};  // of a format of tables: every sixteenth, then halves onto halves
        for (uint32_t e = 0; e < k; ++e) {
          float& chain = is_table(format) ? lane[e % 16] : acc;
          chain = std::fma(x[i * k + e], w[e], chain);
          sum += double(x[i * k + e]) * w[e];
          size += std::fabs(double(x[i * k + e]) * w[e]);
        }
        for (uint32_t half = 8; is_table(format) && half > 0; half /= 2)
          for (uint32_t l = 0; l < half; ++l) lane[l] += lane[l + half];
        if (is_table(format)) acc = lane[0];
      }
      out[i * n + j] = acc;
      (*exact)[i * n + j] = sum;
      (*terms)[i * n + j] = size;
    }
  }
  return out;
}

/// x [rows, k] times w by one kernel -> [rows, w.n]; integer kernels take `act`, or decode the weights where it is
/// empty.
inline std::vector<float> multiply(const GemmKernel& kernel, const PackedWeight& w, const std::vector<uint8_t>& act,
                                   const std::vector<float>& x, uint32_t rows) {
  std::vector<float> out(uint64_t(rows) * w.n, -1);
  std::vector<uint8_t> ready(panel_scratch(kernel, w.k, rows, act.empty() ? RowForm::floats : RowForm::quantized));
  const MatmulInput in{act.data(), act.empty() ? x.data() : nullptr, rows, ready.data()};
  matmul(kernel, w, in, 0, w.panels(), [&](uint32_t panel, uint32_t row, uint32_t m, const float* tile) {
    for (uint32_t i = 0; i < m; ++i)
      for (uint32_t j = 0; j < w.nr && panel * w.nr + j < w.n; ++j)
        out[uint64_t(row + i) * w.n + panel * w.nr + j] = tile[i * w.nr + j];
  });
  return out;
}

/// Elements that a row of a matrix is a multiple of.
inline uint32_t row_unit(Format format) { return std::max(is_integer(format) ? 32u : 1u, info(format).block_elems); }
/// Roundings of the running sum, each 2^-24 of what was summed so far: at most two a block of 32 and one behind, or one
/// a term.
inline double rounding_steps(Format format, uint32_t k) { return is_integer(format) ? k / 16.0 + 3 : k; }

}  // namespace vibee
