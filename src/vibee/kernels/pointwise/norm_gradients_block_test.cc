// SPDX-License-Identifier: Apache-2.0
// Gradients of norms as block programs against double. Bounds are of first order, with a tenth for what is behind it.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "vibee/kernels/pointwise/norm_gradients_launch.h"
#include "vibee/kernels/pointwise/norm_launch.h"
#include "vibee/kit/block_trial.h"

namespace vibee {
namespace {

/// A row's norm in double, and how far the kernels' may be.
struct ExactRow {
  double mean = 0, scale = 0, mean_error = 0, scale_error = 0;  // that of scale is relative
  std::vector<double> normed, error;

  ExactRow(const float* x, uint32_t n, double eps, bool centred) : normed(n), error(n) {
    const uint32_t each = norm_launch(1, n).threads * kPiece;
    const double depth = (n + each - 1) / each * kPiece + 10;
    double magnitude = 0, squares = 0, apart = 0;
    if (centred)
      for (uint32_t i = 0; i < n; ++i) mean += x[i] / double(n), magnitude += std::fabs(double(x[i])) / n;
    for (uint32_t i = 0; i < n; ++i) squares += std::pow(x[i] - mean, 2) / n, apart += std::fabs(x[i] - mean) / n;
    mean_error = (depth + 1) * kUnit * magnitude;
    const double under = squares + eps;
    scale = 1 / std::sqrt(under);
    scale_error = (2 * mean_error * apart / under + (depth + 5) * kUnit) / 2 + 2 * kUnit;
    for (uint32_t i = 0; i < n; ++i) {
      normed[i] = (x[i] - mean) * scale;
      error[i] = scale * mean_error + std::fabs(normed[i]) * (scale_error + 2 * kUnit);
    }
  }
};

void expect_dx(uint32_t rows, uint32_t n, bool centred, uint32_t lead) {
  const auto x = normals<float>(uint64_t(rows) * n, n, 2, lead), g = normals<float>(uint64_t(rows) * n, n + 1, 1, lead),
             w = normals<float>(n, n + 2);
  TrialArray<float> out(uint64_t(rows) * n, lead);
  const char* const kernel = centred ? "vibee_layer_norm_dx" : "vibee_rms_norm_dx";
  const Status status =
      run_kernel(kernel, norm_launch(rows, n), NormDxArgs{x.data(), w.data(), g.data(), out.data(), n, 1e-5f},
                 {x.memory(), w.memory(), g.memory()}, {out.memory()});
  ASSERT_TRUE(status.ok()) << status.message();
  const uint32_t each = norm_launch(1, n).threads * kPiece;
  const double depth = (n + each - 1) / each * kPiece + 10;
  for (uint32_t r = 0; r < rows; ++r) {
    const uint64_t at = uint64_t(r) * n;
    const ExactRow row(&x[at], n, double(1e-5f), centred);
    double along = 0, along_error = 0, shift = 0, shift_error = 0;
    for (uint32_t i = 0; i < n; ++i) {
      const double h = double(g[at + i]) * w[i];
      along += h * row.normed[i] / n;
      along_error += std::fabs(h) * (row.error[i] + (depth + 3) * kUnit * std::fabs(row.normed[i])) / n;
      shift += centred ? h / n : 0;
      shift_error += centred ? (depth + 3) * kUnit * std::fabs(h) / n : 0;
    }
    for (uint32_t i = 0; i < n; ++i) {
      const double h = double(g[at + i]) * w[i], want = (h - row.normed[i] * along - shift) * row.scale;
      const double error =
          row.scale * (3 * kUnit * (std::fabs(h) + std::fabs(row.normed[i] * along) + std::fabs(shift)) +
                       std::fabs(row.normed[i]) * along_error + row.error[i] * std::fabs(along) + shift_error) +
          (row.scale_error + kUnit) * std::fabs(want);
      ASSERT_NEAR(out[at + i], want, 1.1 * error + kLeastNormal) << kernel << " " << n;
    }
  }
}

TEST(NormGradientsBlock, TowardsInputs) {
  for (const uint32_t n : {1u, 2u, 7u, 8u, 31u, 64u, 97u, 255u, 576u, 2048u, 2051u})
    for (const uint32_t lead : {0u, 1u})
      for (const bool centred : {false, true}) expect_dx(3, n, centred, lead);
}

void expect_dw(uint32_t rows, uint32_t n, bool centred) {
  const auto x = normals<float>(uint64_t(rows) * n, n, 2), g = normals<float>(uint64_t(rows) * n, n + 1);
  const uint32_t groups = row_groups(rows);
  TrialArray<float> statistics(2 * uint64_t(rows)), partial(uint64_t(groups) * n), out(n);
  Status status =
      run_kernel(centred ? "vibee_layer_norm_statistics" : "vibee_rms_norm_statistics", norm_launch(rows, n),
                 NormStatisticsArgs{x.data(), statistics.data(), n, 1e-5f}, {x.memory()}, {statistics.memory()});
  ASSERT_TRUE(status.ok()) << status.message();
  status = run_kernel("vibee_norm_dw", column_launch(rows, n),
                      ColumnArgs{x.data(), statistics.data(), g.data(), partial.data(), rows, n},
                      {x.memory(), statistics.memory(), g.memory()}, {partial.memory()});
  ASSERT_TRUE(status.ok()) << status.message();
  ASSERT_LE(groups, kRowsEach);  // so one more launch ends it
  status = run_kernel("vibee_column_sum", column_launch(groups, n),
                      ColumnArgs{nullptr, nullptr, partial.data(), out.data(), groups, n}, {partial.memory()},
                      {out.memory()});
  ASSERT_TRUE(status.ok()) << status.message();
  std::vector<double> want(n), error(n);
  for (uint32_t r = 0; r < rows; ++r) {
    const ExactRow row(&x[uint64_t(r) * n], n, double(1e-5f), centred);
    EXPECT_NEAR(statistics[2 * r], row.mean, 1.1 * row.mean_error);
    EXPECT_NEAR(statistics[2 * r + 1], row.scale, 1.1 * row.scale_error * row.scale);
    for (uint32_t i = 0; i < n; ++i) {
      const double by = g[uint64_t(r) * n + i], depth = std::min(rows, kRowsEach) + groups;
      want[i] += by * row.normed[i];
      error[i] += std::fabs(by) * (row.error[i] + depth * kUnit * std::fabs(row.normed[i]));
    }
  }
  for (uint32_t i = 0; i < n; ++i) ASSERT_NEAR(out[i], want[i], 1.1 * error[i] + kLeastNormal) << rows << " x " << n;
}

TEST(NormGradientsBlock, TowardsWeights) {
  for (const auto& [rows, n] : {std::pair(1u, 1u), {3u, 7u}, {64u, 31u}, {65u, 129u}, {200u, 97u}})
    for (const bool centred : {false, true}) expect_dw(rows, n, centred);
}

}  // namespace
}  // namespace vibee
