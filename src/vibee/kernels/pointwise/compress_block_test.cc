// SPDX-License-Identifier: Apache-2.0
// Rows in few bits by the bytes of the CPU's kernels, there and back.
#include <gtest/gtest.h>

#include <cmath>

#include "vibee/kernels/pointwise/compress.h"
#include "vibee/kernels/pointwise/compress_launch.h"
#include "vibee/kit/block_trial.h"

namespace vibee {
namespace {

constexpr uint32_t kRows = 7;

/// Ordinary rows, one number, zeros of both signs, tiny and huge ranges, numbers that are none.
template <class T>
TrialArray<T> rows_of_all_kinds(uint32_t n) {
  auto x = normals<T>(uint64_t(kRows) * n, n, 3);
  const auto set = [&](uint32_t row, auto&& f) {
    for (uint32_t i = 0; i < n; ++i) x[uint64_t(row) * n + i] = TrialType<T>::from(f(i));
  };
  set(1, [](uint32_t) { return 2.5f; });
  set(2, [](uint32_t i) { return i % 2 ? -0.0f : 0.0f; });
  set(3, [](uint32_t i) { return float(i % 5) * 0x1p-130f; });
  set(4, [](uint32_t i) { return i % 3 == 0 ? 3e38f : -3e38f; });
  set(5, [&](uint32_t i) { return i == n / 2 ? NAN : float(i); });
  return x;
}

template <class T>
void expect_codes(uint32_t n, uint32_t bits, uint64_t step) {
  const auto x = rows_of_all_kinds<T>(n);
  const uint64_t bytes = compressed_bytes(n, bits);
  TrialArray<uint8_t> out(kRows * bytes), want(kRows * bytes);
  const RoundingKey of_step{0x123456789abcdefull, Purpose::compressing, step};
  const CompressKernels& kernels = compress_kernels_scalar;
  TrialArray<T> back(x.size()), want_back(x.size());
  for (uint32_t r = 0; r < kRows; ++r) {
    std::vector<float> row(n);
    for (uint32_t i = 0; i < n; ++i) row[i] = float(TrialType<T>::value(x[uint64_t(r) * n + i]));
    kernels.compress(row.data(), n, bits, compress_key(of_step, 77, r, n), &want[r * bytes]);
    kernels.decompress(&want[r * bytes], n, bits, row.data());
    for (uint32_t i = 0; i < n; ++i) want_back[uint64_t(r) * n + i] = TrialType<T>::from(row[i]);
  }
  const LaunchShape shape = compress_launch(kRows, n);
  const Status there = run_kernel(fmt::format("vibee_compress_{}", TrialType<T>::name), shape,
                                  CompressArgs{x.data(), out.data(), compress_key(of_step, 77, 0, n), kRows, n, bits},
                                  {x.memory()}, {out.memory()});
  ASSERT_TRUE(there.ok()) << there.message();
  EXPECT_TRUE(same_bytes(out, want)) << n << " in " << bits << " bits, step " << step;
  const Status and_back =
      run_kernel(fmt::format("vibee_decompress_{}", TrialType<T>::name), shape,
                 DecompressArgs{want.data(), back.data(), kRows, n, bits}, {want.memory()}, {back.memory()});
  ASSERT_TRUE(and_back.ok()) << and_back.message();
  for (uint64_t i = 0; i < back.size(); ++i) {
    if (std::isnan(TrialType<T>::value(want_back[i]))) {
      ASSERT_TRUE(std::isnan(TrialType<T>::value(back[i]))) << i;
    } else {
      ASSERT_EQ(0, std::memcmp(&back[i], &want_back[i], sizeof(T))) << n << " in " << bits << " bits: " << i;
    }
  }
}

TEST(CompressBlock, CodesAndNumbersHaveTheBytesOfTheCpu) {
  for (const uint32_t n : {1u, 7u, 31u, 128u, 255u, 256u, 257u, 576u, 1003u})
    for (const uint32_t bits : {1u, 2u, 4u, 8u}) {
      expect_codes<float>(n, bits, n);
      expect_codes<Bf16>(n, bits, 0x300000005ull);
    }
}

}  // namespace
}  // namespace vibee
