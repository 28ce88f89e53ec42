// SPDX-License-Identifier: Apache-2.0
// Products of warpgroups against double, and what makes their bytes: rows beside a row, parts in blocks of their own.
#include "vibee/kernels/gemm/wgmma_gemm_block.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <set>

#include "vibee/kernels/gemm/gemm_block_fixture.h"
#include "vibee/kernels/gemm/wgmma_gemm_shape.h"
#include "vibee/kit/trial_tensor_map.h"

namespace vibee {
namespace {

using testing::HasSubstr;

/// Maps, parts and counters as a plan gives them; says which kernel ran.
Result<std::string> launch_wgmma(const GemmSizes& sizes, const WgmmaDevice& device, const GemmArgs& gemm,
                                 std::vector<ShimMemory> read, std::vector<ShimMemory> written) {
  const std::optional<WgmmaGemmShape> shape = wgmma_gemm_shape(sizes, device);
  if (!shape) return error(Code::unsupported, "no kernel");
  const TensorElement type = sizes.a == GemmOperand::bf16 ? TensorElement::bf16 : TensorElement::f16;
  WgmmaGemmArgs args;
  args.gemm = gemm;
  if (sizes.m > 0 && sizes.n > 0) {
    VIBEE_ASSIGN(args.a, trial_tensor_map({uintptr_t(gemm.a), type, sizes.m, sizes.k, gemm.ld_a, shape->box_rows}));
    VIBEE_ASSIGN(args.b, trial_tensor_map({uintptr_t(gemm.b), type, sizes.n, sizes.k, gemm.ld_b, shape->box_columns}));
  }
  TrialArray<float> parts(shape->part_bytes / 4);
  TrialArray<uint32_t> arrived(shape->counter_bytes / 4);
  args.depth_parts = shape->depth_parts, args.stages = shape->stages;
  if (shape->shared_parts) args.parts = parts.data(), args.arrived = arrived.data();
  written.push_back(parts.memory());
  written.push_back(arrived.memory());
  VIBEE_TRY(run_kernel(shape->shape.kernel, shape->shape.launch, args, read, written));
  for (uint64_t i = 0; i < arrived.size(); ++i)
    if (arrived[i] != 0) return error(Code::invalid, "counter {} is {} behind the launch", i, arrived[i]);
  return shape->shape.kernel;
}

template <class T, class Out>
void expect_wgmma(GemmTrial t, bool rows_alike = false) {
  t.transposed_b = true;
  expect_product<T, T, Out>(t, [&](GemmSizes sizes, const GemmArgs& args, const std::vector<ShimMemory>& read,
                                   const std::vector<ShimMemory>& written) {
    sizes.rows_alike = rows_alike;
    return launch_wgmma(sizes, {.processors = t.processors}, args, read, written);
  });
}

TEST(WgmmaGemmBlock, EdgesOfTiles) {
  const uint32_t sizes[][3] = {{1, 1, 8}, {17, 5, 72}, {64, 128, 64}, {65, 130, 136}, {3, 72, 200}};
  for (const auto& [m, n, k] : sizes) {
    expect_wgmma<Bf16, float>({.m = m, .n = n, .k = k});
    expect_wgmma<Half, Half>({.m = m, .n = n, .k = k, .slack = 8});
    expect_wgmma<Bf16, Bf16>({.m = m, .n = n, .k = k, .processors = 4}, true);
  }
}

TEST(WgmmaGemmBlock, TwoGroups) {
  expect_wgmma<Bf16, float>({.m = 136, .n = 140, .k = 264, .processors = 2});  // 256 columns, more tiles than blocks
  expect_wgmma<Half, float>({.m = 136, .n = 140, .k = 264, .processors = 4});
  expect_wgmma<Bf16, float>({.m = 136, .n = 270, .k = 264, .processors = 3}, true);
}

TEST(WgmmaGemmBlock, Epilogues) {
  GemmTrial t{.m = 6,
              .n = 24,
              .k = 32,
              .alpha = 0.25f,
              .beta = 1,
              .bias = true,
              .pre = true,
              .multiply = true,
              .residual = true};
  for (const GemmActivation activation :
       {GemmActivation::none, GemmActivation::silu, GemmActivation::gelu_tanh, GemmActivation::gelu}) {
    t.activation = activation;
    expect_wgmma<Bf16, float>(t);
    t.n = 23;
    expect_wgmma<Bf16, Bf16>(t);
    t.n = 130, t.k = 520;  // behind parts in blocks of their own
    expect_wgmma<Half, Half>(t, true);
  }
}

/// The bytes of row `at` of x w^T, computed beside the other rows of x.
std::vector<float> row_of(const TrialArray<Bf16>& x, const TrialArray<Bf16>& w, uint32_t first, uint32_t m, uint32_t n,
                          uint32_t k, uint32_t at, std::set<std::string>* kernels) {
  TrialArray<float> d(uint64_t(m) * n);
  GemmArgs args;
  args.a = x.data() + uint64_t(first) * k, args.b = w.data(), args.d = d.data();
  args.ld_a = args.ld_b = k, args.ld_d = n, args.m = m, args.n = n, args.k = k;
  GemmSizes sizes{.transposed_b = true, .m = m, .n = n, .k = k};
  sizes.rows_alike = true;
  const Result<std::string> kernel =
      launch_wgmma(sizes, {.processors = 4}, args, {x.memory(), w.memory()}, {d.memory()});
  EXPECT_TRUE(kernel.ok()) << kernel.status().message();
  if (kernel.ok()) kernels->insert(*kernel);
  return {d.data() + uint64_t(at - first) * n, d.data() + uint64_t(at - first + 1) * n};
}

TEST(WgmmaGemmBlock, ARowDoesNotSeeTheOthers) {
  constexpr uint32_t n = 136, k = 392, kRows = 130;
  const auto x = normals<Bf16>(uint64_t(kRows) * k, 1), w = normals<Bf16>(uint64_t(n) * k, 2);
  std::set<std::string> kernels;
  const std::vector<float> alone = row_of(x, w, 9, 1, n, k, 9, &kernels);
  for (const auto& [first, m] : {std::pair(0u, 12u), {9u, 64u}, {3u, 70u}, {0u, 130u}}) {
    const std::vector<float> beside = row_of(x, w, first, m, n, k, 9, &kernels);
    EXPECT_EQ(0, std::memcmp(alone.data(), beside.data(), n * 4)) << m;
  }
  EXPECT_EQ(kernels.size(), 2u);  // both tiles were there
}

TEST(WgmmaGemmShape, KnowsWhatItHas) {
  const WgmmaDevice device{.processors = 132};
  const auto kernel = [&](const GemmSizes& s) {
    const auto shape = wgmma_gemm_shape(s, device);
    if (!shape) return std::string("none");
    EXPECT_NE(find_host_kernel(shape->shape.kernel), nullptr);
    EXPECT_LE(shape->shape.launch.dynamic_shared + 128, kMostSharedBytes);
    return fmt::format("{} {} {}{}", shape->shape.kernel.substr(17), shape->shape.launch.grid[0], shape->depth_parts,
                       shape->shared_parts ? " shared" : "");
  };
  const auto bf16 = GemmOperand::bf16, f16 = GemmOperand::f16;
  EXPECT_EQ(kernel({bf16, bf16, false, true, 8192, 8192, 8192}), "bf16_128x256 132 1");
  EXPECT_EQ(kernel({bf16, bf16, false, true, 8192, 8192, 8192, 1, 1, true}), "bf16_128x128 132 2");
  EXPECT_EQ(kernel({f16, f16, false, true, 8192, 8192, 8192}), "f16_128x128 132 1");
  EXPECT_EQ(kernel({bf16, bf16, false, true, 1, 2048, 2048, 1, 1, true}), "bf16_64x128 128 8 shared");
  EXPECT_EQ(kernel({bf16, bf16, false, true, 300, 2048, 2048, 1, 1, true}), "bf16_64x128 80 8");
  EXPECT_EQ(kernel({bf16, bf16, false, true, 1, 128256, 2048, 1, 1, true}), "bf16_64x128 132 1");
  EXPECT_EQ(kernel({bf16, bf16, false, true, 0, 2048, 2048}), "bf16_64x128 0 8 shared");
  EXPECT_EQ(kernel({bf16, bf16, false, true, 1, 2048, 2047}), "none");
  EXPECT_EQ(kernel({bf16, bf16, false, false, 1, 2048, 2048}), "none");
  EXPECT_EQ(kernel({bf16, f16, false, true, 1, 2048, 2048}), "none");
  EXPECT_EQ(kernel({bf16, bf16, false, true, 1, 2048, 2048, 2}), "none");
}

/// Programs of one group over one tile of 64 x 64 and one of 128 x 64, of which one step is wrong.
struct Planted {
  bool wait_for_copy = true, publish = true, give_back = true, wait_for_products = true;
  uint32_t bytes = 192 * 128;
};
std::string planted(const Planted& p, uint64_t seed) {
  const auto a = normals<Bf16>(128 * 64, 1), c = normals<Bf16>(128 * 64, 2);
  TrialArray<float> out(128 * 64);
  const auto left = trial_tensor_map({uintptr_t(a.data()), TensorElement::bf16, 128, 64, 64, 64});
  const auto right = trial_tensor_map({uintptr_t(c.data()), TensorElement::bf16, 128, 64, 64, 128});
  const std::vector<ShimMemory> memory{a.memory(), c.memory(), out.memory()};
  ShimLaunch launch;
  launch.block = {160, 1, 1}, launch.dynamic_shared = 192 * 128 + 1024, launch.memory = memory, launch.seed = seed;
  return run_shim({"planted", 160, 128}, launch,
                  [&](ShimBlock& b) {
                    const auto bars = shared_array<PhaseBarrier>(b, 2);
                    const auto room = dynamic_array<Bf16>(b, 192 * 64 + 512);
                    const uint32_t begin = (1024 - b.offset(room) % 1024) % 1024 / 2;
                    if (b.thread() == 0) {
                      b.barrier_init(bars, 0, 1);
                      b.barrier_init(bars, 1, 4);
                      if (p.publish) b.barrier_publish();
                    }
                    b.sync();
                    if (b.thread() >= 128) {
                      if (b.thread() > 128) return;
                      for (uint32_t step = 0; step < 2; ++step) {
                        if (step && p.give_back) b.barrier_wait(bars, 1, 0);
                        b.barrier_expect(bars, 0, p.bytes);
                        b.copy_tile(room, begin, *left, 0, step * 64, bars, 0);
                        b.copy_tile(room, begin + 64 * 64, *right, 0, 0, bars, 0);
                      }
                      return;
                    }
                    float sums[64];
                    for (uint32_t step = 0; step < 2; ++step) {
                      if (p.wait_for_copy) b.barrier_wait(bars, 0, step);
                      b.group_fence();
                      b.group_mma(sums, b.tile_rows(room, begin), b.tile_rows(room, begin + 64 * 64), step > 0, Bf16{});
                      b.group_commit();
                      if (p.wait_for_products) b.group_wait(Groups<0>{});
                      if (b.lane() == 0) b.barrier_arrive(bars, 1);
                    }
                    for (uint32_t i = 0; i < 64; ++i) b.store(out.data(), b.thread() * 64 + i, sums[i]);
                  })
      .message();
}

TEST(GroupShim, FindsPlantedBugs) {
  for (const uint64_t seed : {0, 1, 2, 3}) EXPECT_EQ(planted({}, seed), "") << seed;
  EXPECT_THAT(planted({.wait_for_copy = false}, 0), HasSubstr("which nobody has written"));
  EXPECT_THAT(planted({.publish = false}, 0), HasSubstr("before it was published"));
  EXPECT_THAT(planted({.wait_for_products = false}, 0), HasSubstr("without a wait behind the product"));
  EXPECT_THAT(planted({.give_back = false}, 0), HasSubstr("where all 1 have"));
  EXPECT_THAT(planted({.bytes = 191 * 128}, 0), HasSubstr("to end a phase of parity"));
}

}  // namespace
}  // namespace vibee
