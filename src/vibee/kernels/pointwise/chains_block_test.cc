// SPDX-License-Identifier: Apache-2.0
// Block programs of one chain a result, by the bytes of the interpreter's loops in double; pooling by the CPU's floats.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "vibee/kernels/pointwise/chains_launch.h"
#include "vibee/kernels/pointwise/pointwise.h"
#include "vibee/kit/block_trial.h"

namespace vibee {
namespace {

void expect_reduced(const ReduceArgs& args, const TrialArray<float>& x, const TrialArray<float>& want) {
  TrialArray<float> out(want.size());
  ReduceArgs own = args;
  own.x = x.data(), own.out = out.data();
  const Status status = run_kernel("vibee_reduce_f32", reduce_launch(own.results), own, {x.memory()}, {out.memory()});
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_TRUE(same_bytes(out, want)) << own.results << " of " << own.terms << ", largest " << own.largest;
}

TEST(ChainsBlock, RowsHaveTheInterpretersBytes) {
  for (const auto& [rows, n] : {std::pair(1u, 1u), {1u, 97u}, {33u, 31u}, {129u, 64u}, {200u, 3u}, {4u, 0u}, {0u, 4u}})
    for (const bool largest : {false, true}) {
      auto x = normals<float>(uint64_t(rows) * n, n, 1e3f);
      if (rows > 1 && n > 2) x[n + 1] = largest ? NAN : INFINITY;
      TrialArray<float> want(rows);
      for (uint32_t r = 0; r < rows; ++r) {
        double all = largest ? -INFINITY : 0;
        for (uint32_t i = 0; i < n; ++i) {
          const double v = x[uint64_t(r) * n + i];
          all = largest ? (v > all ? v : all) : all + v;
        }
        want[r] = float(all);
      }
      expect_reduced(reduce_rows(nullptr, nullptr, rows, n, largest), x, want);
    }
}

TEST(ChainsBlock, AnyDimensionsHaveTheInterpretersBytes) {
  const uint32_t sizes[] = {3, 37, 2, 5, 9};
  const auto x = normals<float>(3 * 37 * 2 * 5 * 9, 1, 1e3f);
  for (uint32_t mask = 0; mask < 32; ++mask) {
    uint32_t to[5], results = 1;
    for (uint32_t d = 0; d < 5; ++d) results *= to[d] = mask >> d & 1 ? 1 : sizes[d];
    std::vector<double> sums(results);
    for (uint64_t i = 0; i < x.size(); ++i) {  // sum_to
      uint64_t left = i, at = 0, stride = 1;
      for (uint32_t d = 5; d-- > 0; left /= sizes[d]) {
        if (to[d] != 1) at += left % sizes[d] * stride;
        stride *= to[d];
      }
      sums[at] += double(x[i]);
    }
    TrialArray<float> want(results);
    std::copy(sums.begin(), sums.end(), want.data());
    expect_reduced(reduce_to(nullptr, sizes, nullptr, to, 5, false), x, want);
  }
}

static_assert(uint32_t(Pooling::mean) == uint32_t(PoolRule::mean) &&
              uint32_t(Pooling::max) == uint32_t(PoolRule::max) && uint32_t(Pooling::cls) == uint32_t(PoolRule::cls) &&
              uint32_t(Pooling::last) == uint32_t(PoolRule::last));

template <class T>
void expect_pooled(uint32_t n) {
  const std::pair<uint32_t, uint32_t> sequences[] = {{0, 1}, {1, 5}, {6, 33}, {39, 2}};
  const auto x = normals<T>(41 * uint64_t(n), n);
  TrialArray<uint32_t> first(4), rows(4);
  for (uint32_t s = 0; s < 4; ++s) first[s] = sequences[s].first, rows[s] = sequences[s].second;
  const PointwiseKernels& cpu = pointwise(Isa::scalar);
  for (const PoolRule rule : {PoolRule::mean, PoolRule::max, PoolRule::cls, PoolRule::last}) {
    TrialArray<float> out(4 * uint64_t(n)), want(4 * uint64_t(n));
    for (uint32_t s = 0; s < 4; ++s) {  // run_pool_rows
      const auto row = [&](uint32_t r) {
        std::vector<float> v(n);
        for (uint32_t i = 0; i < n; ++i) v[i] = float(TrialType<T>::value(x[uint64_t(first[s] + r) * n + i]));
        return v;
      };
      const std::vector<float> kept = row(rule == PoolRule::last ? rows[s] - 1 : 0);
      float* to = want.data() + uint64_t(s) * n;
      std::copy(kept.begin(), kept.end(), to);
      for (uint32_t r = 1; r < rows[s]; ++r) {
        const std::vector<float> v = row(r);
        if (rule == PoolRule::mean) cpu.add(to, v.data(), n, to);
        for (uint32_t i = 0; i < n && rule == PoolRule::max; ++i) to[i] = std::max(to[i], v[i]);
      }
      if (rule == PoolRule::mean) cpu.scale(to, 1.0f / float(rows[s]), n, to);
    }
    const Status status = run_kernel(fmt::format("vibee_pool_rows_{}", TrialType<T>::name), pool_rows_launch(4, n),
                                     PoolRowsArgs{x.data(), first.data(), rows.data(), out.data(), n, rule},
                                     {x.memory(), first.memory(), rows.memory()}, {out.memory()});
    ASSERT_TRUE(status.ok()) << status.message();
    EXPECT_TRUE(same_bytes(out, want)) << n << " rule " << uint32_t(rule);
  }
}

TEST(ChainsBlock, PooledRowsHaveTheCpusBytes) {
  for (const uint32_t n : {1u, 31u, 64u, 300u}) {
    expect_pooled<float>(n);
    expect_pooled<Bf16>(n);
    expect_pooled<Half>(n);
  }
}

}  // namespace
}  // namespace vibee
