// SPDX-License-Identifier: Apache-2.0
// Sums in double beside long double, and rows that are added where their ids say, by the bytes of plain loops.
#include <gtest/gtest.h>

#include <cmath>

#include "vibee/kernels/pointwise/scatter_launch.h"
#include "vibee/kernels/pointwise/scatter_order.h"
#include "vibee/kernels/pointwise/sums_launch.h"
#include "vibee/kit/block_trial.h"

namespace vibee {
namespace {

template <class T>
void expect_sum(const char* kernel, uint64_t n, uint32_t lead, bool squares) {
  auto x = normals<T>(n, uint32_t(n), 3, lead);
  if (n > 3 && squares) x[3] = TrialType<T>::from(1e30f);  // its square is no float
  TrialArray<double> parts(sum_parts(n)), out(1);
  TrialArray<float> rounded(1);
  const Status first =
      run_kernel(kernel, sum_launch(n), SumArgs{x.data(), parts.data(), n}, {x.memory()}, {parts.memory()});
  ASSERT_TRUE(first.ok()) << first.message();
  const Status second = run_kernel("vibee_sum_parts", sum_parts_launch(),
                                   SumPartsArgs{parts.data(), out.data(), rounded.data(), parts.size()},
                                   {parts.memory()}, {out.memory(), rounded.memory()});
  ASSERT_TRUE(second.ok()) << second.message();
  long double want = 0, magnitude = 0;
  for (uint64_t i = 0; i < n; ++i) {
    const long double v = TrialType<T>::value(x[i]), term = squares ? v * v : v;
    want += term, magnitude += std::fabs(term);
  }
  // Squares of floats are exact; a thread adds up 64, threads and parts by trees and chains of few.
  const double depth = double(kSumEach / kSumThreads + 8 + parts.size() / kSumThreads + 9);
  EXPECT_NEAR(out[0], double(want), double(magnitude) * depth * 0x1p-53) << kernel << " " << n;
  EXPECT_EQ(rounded[0], float(out[0]));
}

TEST(SumsBlock, NearLongDouble) {
  for (const uint64_t n : {0u, 1u, 7u, 2048u, 16384u, 16385u, 40961u})
    for (const uint32_t lead : {0u, 1u}) {
      expect_sum<float>("vibee_sum_f32", n, lead, false);
      expect_sum<float>("vibee_squares_f32", n, lead, true);
      expect_sum<Bf16>("vibee_squares_bf16", n, lead, true);
    }
}

TEST(ScatterBlock, RowsOfAnIdAreAddedInOrder) {
  for (const uint32_t n : {1u, 31u, 128u, 300u})
    for (const uint32_t rows : {0u, 1u, 2u, 37u}) {
      constexpr uint32_t kCount = 11;
      const auto x = normals<float>(uint64_t(rows) * n, n + rows);
      std::vector<int32_t> ids(rows);
      for (uint32_t r = 0; r < rows; ++r) ids[r] = int32_t(r * r % 7) - (r % 5 == 4 ? 8 : 0);
      if (rows > 2) ids[2] = kCount;  // nobody's
      TrialArray<float> out(kCount * n), want(kCount * n);
      for (uint32_t r = 0; r < rows; ++r)
        for (uint32_t j = 0; j < n && uint32_t(ids[r]) < kCount; ++j) want[uint32_t(ids[r]) * n + j] += x[r * n + j];
      const ScatterOrder order = scatter_order(ids, kCount);
      ASSERT_EQ(order.begins.size(), order.ids.size() + 1);
      const auto array = [](const std::vector<uint32_t>& from) {
        TrialArray<uint32_t> to(from.size());
        std::copy(from.begin(), from.end(), to.data());
        return to;
      };
      const auto of = array(order.ids), begins = array(order.begins), list = array(order.rows);
      const Status status = run_kernel("vibee_scatter_f32", scatter_launch(uint32_t(order.ids.size()), n),
                                       ScatterArgs{of.data(), begins.data(), list.data(), x.data(), out.data(), n},
                                       {of.memory(), begins.memory(), list.memory(), x.memory()}, {out.memory()});
      ASSERT_TRUE(status.ok()) << status.message();
      EXPECT_TRUE(same_bytes(out, want)) << rows << " rows of " << n;
    }
}

}  // namespace
}  // namespace vibee
