// SPDX-License-Identifier: Apache-2.0
// Products with adapters, by the bytes of the CPU's kernels on each row alone.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "vibee/kernels/pointwise/lora_launch.h"
#include "vibee/kernels/pointwise/pointwise.h"
#include "vibee/kit/block_trial.h"

namespace vibee {
namespace {

/// Adapters of one product: ranks of k columns and n rows.
struct Adapters {
  std::vector<TrialArray<float>> weights;
  TrialArray<const float*> a, b;
  TrialArray<uint32_t> rank;
  TrialArray<float> scale;
  TrialArray<int32_t> of_row;

  Adapters(const std::vector<uint32_t>& ranks, uint32_t k, uint32_t n, const std::vector<int32_t>& rows)
      : a(ranks.size()), b(ranks.size()), rank(ranks.size()), scale(ranks.size()), of_row(rows.size()) {
    for (uint32_t i = 0; i < ranks.size(); ++i) {
      weights.push_back(normals<float>(uint64_t(ranks[i]) * k, 2 * i));
      weights.push_back(normals<float>(uint64_t(ranks[i]) * n, 2 * i + 1));
      rank[i] = ranks[i];
      scale[i] = 0.5f + float(i);
    }
    for (uint32_t i = 0; i < ranks.size(); ++i) a[i] = weights[2 * i].data(), b[i] = weights[2 * i + 1].data();
    std::copy(rows.begin(), rows.end(), of_row.data());
  }
  LoraTable table() const { return {a.data(), b.data(), rank.data(), scale.data(), of_row.data()}; }
  std::vector<ShimMemory> memory(std::vector<ShimMemory> with) const {
    for (const auto& w : weights) with.push_back(w.memory());
    with.insert(with.end(), {a.memory(), b.memory(), rank.memory(), scale.memory(), of_row.memory()});
    return with;
  }
};

void expect_adapted(uint32_t k, uint32_t n, const std::vector<uint32_t>& ranks, const std::vector<int32_t>& of_row,
                    bool in_place) {
  const auto rows = uint32_t(of_row.size()), width = std::max(1u, *std::max_element(ranks.begin(), ranks.end()));
  const Adapters adapters(ranks, k, n, of_row);
  const PointwiseKernels& cpu = pointwise(Isa::scalar);
  const auto x = normals<float>(uint64_t(rows) * k, 50);
  auto y = normals<float>(uint64_t(rows) * n, 51);
  TrialArray<float> h(uint64_t(rows) * width), want_h(uint64_t(rows) * width), out(uint64_t(rows) * n), want = y;
  for (uint32_t r = 0; r < rows; ++r) {
    if (of_row[r] < 0) continue;
    const auto id = uint32_t(of_row[r]);
    cpu.lora_down(&x[uint64_t(r) * k], 1, k, adapters.a[id], ranks[id], adapters.scale[id],
                  want_h.data() + uint64_t(r) * width, width);
    if (ranks[id] > 0)
      cpu.lora_up(&want_h[uint64_t(r) * width], 1, width, ranks[id], adapters.b[id], n, n,
                  want.data() + uint64_t(r) * n, n);
  }
  Status status = run_kernel("vibee_lora_down_f32", lora_down_launch(rows, width),
                             LoraDownArgs{x.data(), h.data(), adapters.table(), k, width},
                             adapters.memory({x.memory()}), {h.memory()});
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_TRUE(same_bytes(h, want_h)) << k << " " << width;
  const LoraUpArgs up{y.data(), h.data(), in_place ? y.data() : out.data(), adapters.table(), n, width};
  status = in_place ? run_kernel("vibee_lora_up_f32", lora_up_launch(rows, n), up, adapters.memory({h.memory()}),
                                 {y.memory()})
                    : run_kernel("vibee_lora_up_f32", lora_up_launch(rows, n), up,
                                 adapters.memory({h.memory(), y.memory()}), {out.memory()});
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_TRUE(same_bytes(in_place ? y : out, want)) << n << " in place " << in_place;
}

TEST(LoraBlock, RowsOfABatchHaveTheirAdaptersBytes) {
  for (const uint32_t k : {1u, 15u, 16u, 97u, 576u})
    for (const uint32_t n : {1u, 31u, 300u})
      for (const bool in_place : {false, true}) {
        expect_adapted(k, n, {8, 0, 3, 17}, {0, 0, -1, 2, 3, 1, 2}, in_place);
        expect_adapted(k, n, {1}, {-1, 0}, in_place);
      }
  expect_adapted(40, 20, {0}, {0, -1}, true);
  expect_adapted(40, 20, {4}, {}, false);
}

}  // namespace
}  // namespace vibee
