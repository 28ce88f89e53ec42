// SPDX-License-Identifier: Apache-2.0
// Cases of rows with outliers for their test and check, beside those of gemm_cases.h.
#pragma once

#include "vibee/kernels/gemm/gemm_cases.h"
#include "vibee/kernels/gemm/outliers.h"

namespace vibee {

inline bool is_apart(float x, float threshold) { return std::fabs(x) >= threshold; }

/// `rows` float rows as the integer kernels take them, with their outliers behind them.
inline std::vector<uint8_t> quantize_rows_apart(Format format, float threshold, const std::vector<float>& x,
                                                uint32_t rows, uint32_t k, Isa isa) {
  std::vector<uint8_t> act(act_bytes(rows, k) + outlier_bytes(rows, k));
  for (uint32_t r = 0; r < rows; ++r)
    quantize_apart(pointwise(isa), act_rule(format), threshold, &x[uint64_t(r) * k], k, act_row(act.data(), rows, k, r),
                   outlier_row(act.data(), rows, k, r));
  return act;
}

/// The contract: the rest of finite rows by `reference`, then one fma an outlier in the order of columns.
inline std::vector<float> reference_apart(Format format, float threshold, const std::vector<uint8_t>& rows, uint32_t n,
                                          uint32_t k, const std::vector<float>& x, uint32_t m) {
  std::vector<float> rest = x, w(k);
  for (float& v : rest) v = is_apart(v, threshold) ? 0 : v;
  std::vector<double> exact, terms;
  std::vector<float> out = reference(format, rows, n, k, rest, m, &exact, &terms);
  for (uint32_t j = 0; j < n; ++j) {
    info(format).decode(rows.data() + j * info(format).row_bytes(k), k, w.data());
    for (uint32_t i = 0; i < m; ++i)
      for (uint32_t e = 0; e < k; ++e)
        if (const float v = x[uint64_t(i) * k + e]; is_apart(v, threshold))
          out[uint64_t(i) * n + j] = std::fma(v, w[e], out[uint64_t(i) * n + j]);
  }
  return out;
}

/// Rows of quantize_rows_apart times w by one kernel -> [rows, w.n].
inline std::vector<float> multiply_apart(const GemmKernel& kernel, const PackedWeight& w, std::vector<uint8_t> act,
                                         uint32_t rows) {
  std::vector<float> out(uint64_t(rows) * w.n, -1);
  std::vector<uint8_t> ready(panel_scratch(kernel, w.k, rows, RowForm::quantized));
  const RowsInput in{{act.data(), nullptr, rows, ready.data()}, outlier_row(act.data(), rows, w.k, 0)};
  matmul(kernel, w, in, 0, w.panels(), [&](uint32_t panel, uint32_t row, uint32_t m, const float* tile) {
    for (uint32_t i = 0; i < m; ++i)
      for (uint32_t j = 0; j < w.nr && panel * w.nr + j < w.n; ++j)
        out[uint64_t(row + i) * w.n + panel * w.nr + j] = tile[i * w.nr + j];
  });
  return out;
}

}  // namespace vibee
