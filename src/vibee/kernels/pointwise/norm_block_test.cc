// SPDX-License-Identifier: Apache-2.0
// Norms as block programs against double. A sum of n terms goes through a chain in each thread and two trees of five.
#include "vibee/kernels/pointwise/norm_block.h"

#include <gtest/gtest.h>

#include <cmath>

#include "vibee/core/device/device_pool.h"
#include "vibee/core/device/pinned_ring.h"
#include "vibee/kit/block_trial.h"
#include "vibee/kit/host_block_kernels.h"
#include "vibee/kit/trial_device.h"

namespace vibee {
namespace {

const uint32_t kWidths[] = {1, 2, 7, 8, 9, 31, 64, 97, 255, 256, 576, 2048, 2051, 4100};

/// Roundings that a term of a row's sum goes through.
double depth(uint32_t n) {
  const uint32_t each = norm_launch(1, n).threads * kPiece;
  return (n + each - 1) / each * kPiece + 10;
}

template <class In, class Out>
void expect_rms_norm(uint32_t rows, uint32_t n, uint32_t lead) {
  const auto x = normals<In>(uint64_t(rows) * n, n, 2, lead);
  const auto w = normals<float>(n, n + 1);
  TrialArray<Out> out(uint64_t(rows) * n, lead);
  const auto kernel = fmt::format("vibee_rms_norm_{}_{}", TrialType<In>::name, TrialType<Out>::name);
  const Status status =
      run_kernel(kernel, norm_launch(rows, n), NormArgs{x.data(), w.data(), nullptr, out.data(), n, 1e-5f},
                 {x.memory(), w.memory()}, {out.memory()});
  ASSERT_TRUE(status.ok()) << status.message();
  for (uint32_t r = 0; r < rows; ++r) {
    double squares = 0;
    for (uint32_t i = 0; i < n; ++i) squares += std::pow(TrialType<In>::value(x[uint64_t(r) * n + i]), 2);
    const double scale = 1 / std::sqrt(squares / n + double(1e-5f));
    for (uint32_t i = 0; i < n; ++i) {
      const double want = TrialType<In>::value(x[uint64_t(r) * n + i]) * scale * w[i];
      // The sum and its squares, the mean and eps under the root; root, inverse, two products.
      const double error = ((depth(n) + 3) / 2 + 4) * kUnit * std::fabs(want);
      EXPECT_NEAR(TrialType<Out>::value(out[uint64_t(r) * n + i]), want, error + rounding<Out>(want)) << n << " " << i;
    }
  }
}

template <class In, class Out>
void expect_layer_norm(uint32_t rows, uint32_t n, uint32_t lead) {
  const auto x = normals<In>(uint64_t(rows) * n, n, 2, lead);
  const auto w = normals<float>(n, n + 1), bias = normals<float>(n, n + 2);
  TrialArray<Out> out(uint64_t(rows) * n, lead);
  const auto kernel = fmt::format("vibee_layer_norm_{}_{}", TrialType<In>::name, TrialType<Out>::name);
  const Status status =
      run_kernel(kernel, norm_launch(rows, n), NormArgs{x.data(), w.data(), bias.data(), out.data(), n, 1e-5f},
                 {x.memory(), w.memory(), bias.memory()}, {out.memory()});
  ASSERT_TRUE(status.ok()) << status.message();
  for (uint32_t r = 0; r < rows; ++r) {
    double sum = 0, magnitude = 0, squares = 0, apart = 0;
    const auto at = [&](uint32_t i) { return TrialType<In>::value(x[uint64_t(r) * n + i]); };
    for (uint32_t i = 0; i < n; ++i) sum += at(i), magnitude += std::fabs(at(i));
    const double mean = sum / n;
    for (uint32_t i = 0; i < n; ++i) squares += std::pow(at(i) - mean, 2), apart += std::fabs(at(i) - mean);
    const double under = squares / n + double(1e-5f), scale = 1 / std::sqrt(under);
    const double shift = (depth(n) + 1) * kUnit * magnitude / n;  // error of the mean
    const double variance = 2 * shift * apart / n + shift * shift + (depth(n) + 5) * kUnit * under;
    for (uint32_t i = 0; i < n; ++i) {
      const double d = at(i) - mean, want = d * scale * w[i] + bias[i];
      const double error = std::fabs(w[i]) * scale * (shift + std::fabs(d) * (variance / under / 2 + 4 * kUnit)) +
                           kUnit * std::fabs(want);
      // Twice: the bound is of first order, and a variance of almost nothing beside eps is not.
      EXPECT_NEAR(TrialType<Out>::value(out[uint64_t(r) * n + i]), want, 2 * error + rounding<Out>(want)) << n;
    }
  }
}

template <class In, class Out>
void expect_norms() {
  for (const uint32_t n : kWidths)
    for (const uint32_t lead : {0u, 1u}) {  // 1: nothing is aligned
      const uint32_t rows = n < 100 ? 5 : 2;
      expect_rms_norm<In, Out>(rows, n, lead);
      expect_layer_norm<In, Out>(rows, n, lead);
    }
}

TEST(NormBlock, F32ToF32) { expect_norms<float, float>(); }
TEST(NormBlock, F32ToBf16) { expect_norms<float, Bf16>(); }
TEST(NormBlock, F32ToF16) { expect_norms<float, Half>(); }
TEST(NormBlock, Bf16ToBf16) { expect_norms<Bf16, Bf16>(); }
TEST(NormBlock, F16ToF16) { expect_norms<Half, Half>(); }

TEST(NormBlock, InPlace) {
  auto x = normals<float>(3 * 576, 1);
  const auto w = normals<float>(576, 2);
  TrialArray<float> want(3 * 576);
  ASSERT_TRUE(run_kernel("vibee_rms_norm_f32_f32", norm_launch(3, 576),
                         NormArgs{x.data(), w.data(), nullptr, want.data(), 576, 1e-5f}, {x.memory(), w.memory()},
                         {want.memory()})
                  .ok());
  ASSERT_TRUE(run_kernel("vibee_rms_norm_f32_f32", norm_launch(3, 576),
                         NormArgs{x.data(), w.data(), nullptr, x.data(), 576, 1e-5f}, {w.memory()}, {x.memory()})
                  .ok());
  EXPECT_EQ(0, std::memcmp(x.data(), want.data(), want.memory().bytes));
}

/// Through the driver: memory of a pool, copies on a stream, a module's function. The shim's bytes come back.
TEST(NormBlock, RunsOnADevice) {
  constexpr uint32_t kRows = 3, kWidth = 97;
  const auto x = normals<float>(kRows * kWidth, 1), w = normals<float>(kWidth, 2);
  TrialArray<float> want(kRows * kWidth);
  ASSERT_TRUE(run_kernel("vibee_rms_norm_f32_f32", norm_launch(kRows, kWidth),
                         NormArgs{x.data(), w.data(), nullptr, want.data(), kWidth, 1e-5f}, {x.memory(), w.memory()},
                         {want.memory()})
                  .ok());
  TrialDevice trial({.find = find_host_function});
  {
    const auto device = made(trial.open());
    const auto pool = made(DevicePool::create(device, 64 << 10));
    const CudaStream stream = made(CudaStream::create(device));
    PinnedRing ring = made(PinnedRing::create(device, 256, 2));
    const auto fatbin = trial_fatbin({90});
    CudaKernel norm = made(made(CudaModule::load(device, {"norm_cuda.cu", fatbin}))->kernel("vibee_rms_norm_f32_f32"));
    const DeviceBlock rows = made(pool->take(4 * kRows * kWidth)), weight = made(pool->take(4 * kWidth)),
                      out = made(pool->take(4 * kRows * kWidth));
    const auto bytes = [](const TrialArray<float>& a) {
      return std::as_bytes(std::span<const float>(a.data(), a.size()));
    };
    ASSERT_TRUE(ring.copy_in(stream, rows.address(), bytes(x)).ok());
    ASSERT_TRUE(ring.copy_in(stream, weight.address(), bytes(w)).ok());
    const auto on_device = [](const DeviceBlock& block) { return reinterpret_cast<float*>(block.address()); };
    NormArgs args{on_device(rows), on_device(weight), nullptr, on_device(out), kWidth, 1e-5f};
    void* packed[] = {&args};
    ASSERT_TRUE(norm.launch(stream, norm_launch(kRows, kWidth), packed).ok());
    TrialArray<float> got(kRows * kWidth);
    ASSERT_TRUE(
        ring.copy_out(stream, std::as_writable_bytes(std::span<float>(got.data(), got.size())), out.address()).ok());
    EXPECT_TRUE(same_bytes(want, got));
  }
  EXPECT_EQ(trial.host.finish(), std::vector<std::string>{});
}

TEST(NormBlock, RowsThatEndTooEarlyAreFound) {
  const auto x = normals<float>(576, 1), w = normals<float>(575, 2);
  TrialArray<float> out(576);
  EXPECT_EQ(run_kernel("vibee_rms_norm_f32_f32", norm_launch(1, 576),
                       NormArgs{x.data(), w.data(), nullptr, out.data(), 576, 1e-5f}, {x.memory(), w.memory()},
                       {out.memory()})
                .code(),
            Code::invalid);
}

}  // namespace
}  // namespace vibee
