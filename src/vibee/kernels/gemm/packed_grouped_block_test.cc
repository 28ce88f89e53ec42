// SPDX-License-Identifier: Apache-2.0
// Products by experts in panels: every pair has the bytes of its row's plain product by its expert's panels, whatever
// pairs its tile has.
#include "vibee/kernels/gemm/packed_grouped_block.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "vibee/kernels/gemm/gemm_cases.h"
#include "vibee/kernels/gemm/packed_gemm_shape.h"
#include "vibee/kit/block_trial.h"

namespace vibee {
namespace {

using testing::HasSubstr;

struct ExpertsTrial {
  uint32_t rows, experts, chosen, n, k;
  bool per_pair = false;  ///< A has a row a pair
};

/// Two rows of three choose expert 0 first; none has an expert twice.
TrialArray<float> routes(const ExpertsTrial& t) {
  RandomStream random(9, Purpose::test, t.rows);
  TrialArray<float> route(uint64_t(t.rows) * 2 * t.chosen);
  for (uint32_t r = 0; r < t.rows; ++r) {
    const uint32_t first = random.below(3) ? 0 : random.below(t.experts);
    for (uint32_t j = 0; j < t.chosen; ++j) {
      route[uint64_t(r) * 2 * t.chosen + j] = float((first + j) % t.experts);
      route[(uint64_t(r) * 2 + 1) * t.chosen + j] = 1;
    }
  }
  return route;
}

void run(const std::string& kernel, const LaunchShape& launch, const auto& args, const std::vector<ShimMemory>& in,
         const std::vector<ShimMemory>& out) {
  const Status status = run_kernel(kernel, launch, args, in, out);
  ASSERT_TRUE(status.ok()) << kernel << ": " << status.message();
}

void expect_experts(Format format, const ExpertsTrial& t, const char* family) {
  const uint32_t pairs = t.rows * t.chosen, rows_a = t.per_pair ? pairs : t.rows, share = t.per_pair ? 1 : t.chosen;
  const uint64_t one = PackedWeight{format, t.n, t.k, 16, nullptr}.bytes();
  TrialArray<uint8_t> panels(one * t.experts);
  RandomStream random(10, Purpose::test, t.n);
  for (uint32_t e = 0; e < t.experts; ++e) {
    const std::vector<uint8_t> rows = random_rows(format, t.n, t.k, random);
    std::memcpy(panels.data() + e * one, pack(format, 16, t.n, t.k, rows).data(), one);
  }
  const auto x = normals<float>(uint64_t(rows_a) * t.k, 11), multiply = normals<float>(uint64_t(pairs) * t.n, 12);
  TrialArray<uint8_t> records(quantized_bytes(rows_a, t.k));
  QuantizeRowsArgs quantize = quantize_rows_args(act_rule(format), t.k).value();
  quantize.x = x.data(), quantize.records = records.data();
  const GemmShape quantizes = quantize_rows_shape(rows_a, t.k);
  run(quantizes.kernel, quantizes.launch, quantize, {x.memory()}, {records.memory()});

  const Result<GroupedShape> shape =
      packed_grouped_shape(format, {.pairs = pairs, .n = t.n, .k = t.k, .experts = t.experts, .rows = t.rows});
  ASSERT_TRUE(shape.ok()) << shape.status().message();
  ASSERT_TRUE(shape->kernel.starts_with(family)) << shape->kernel;
  const auto route = routes(t);
  const uint32_t most = route_tiles(pairs, t.experts, shape->tile_rows);
  TrialArray<uint32_t> starts(t.experts + 1), list(pairs), tiles(3 * uint64_t(most));
  const RouteListArgs lists{route.data(), starts.data(), list.data(),      tiles.data(), t.rows,
                            t.experts,    t.chosen,      shape->tile_rows, most};
  run("vibee_route_pairs", route_pairs_launch(t.rows, t.experts, t.chosen), lists, {route.memory()},
      {starts.memory(), list.memory()});
  run("vibee_route_tiles", route_tiles_launch(), lists, {starts.memory()}, {tiles.memory()});

  TrialArray<float> d(uint64_t(pairs) * t.n), alone(t.n);
  PackedGroupedArgs args;
  GemmArgs& gemm = args.grouped.gemm;
  gemm.a = records.data(), gemm.b = panels.data(), gemm.d = d.data(), gemm.multiply = multiply.data();
  gemm.activation = GemmActivation::silu;
  gemm.ld_d = t.n, gemm.m = pairs, gemm.n = t.n, gemm.k = t.k;
  args.grouped.share = share, args.grouped.tiles = tiles.data(), args.grouped.pairs = list.data();
  args.panel = panel_form(format, t.k).value();
  run(shape->kernel, shape->launch, args,
      {records.memory(), panels.memory(), multiply.memory(), tiles.memory(), list.memory()}, {d.memory()});

  const GemmShape plain = packed_gemm_shape(format, 1, t.n, t.k).value();
  for (uint32_t p = 0; p < pairs; p += 1 + pairs / 24) {
    const auto expert = uint32_t(route[uint64_t(p / t.chosen) * 2 * t.chosen + p % t.chosen]);
    PackedGemmArgs own{gemm, args.panel};
    own.product.a = records.data() + uint64_t(p / share) * quantized_bytes(1, t.k);
    own.product.b = panels.data() + expert * one;
    own.product.d = alone.data(), own.product.multiply = &multiply[uint64_t(p) * t.n], own.product.m = 1;
    run(plain.kernel, plain.launch, own, {records.memory(), panels.memory(), multiply.memory()}, {alone.memory()});
    ASSERT_EQ(0, std::memcmp(alone.data(), &d[uint64_t(p) * t.n], t.n * sizeof(float)))
        << shape->kernel << " " << info(format).name << " pair " << p;
  }
}

constexpr bool kFewer = VIBEE_SANITIZE_BUILD != 0;  ///< cases: fibers under sanitizers take their time

/// A format of each way to keep codes and of each way to sum them.
constexpr Format kFormats[] = {Format::q4_0, Format::q4_k,  Format::q6_k,  Format::q8_0,
                               Format::q5_1, Format::nvfp4, Format::qoq32, Format::atom64};

TEST(PackedGroupedBlock, FewPairsAnExpert) {
  const char* const gemv = "vibee_packed_grouped_gemv_";
  for (const Format format : kFormats) {
    if (kFewer && format != Format::q4_k) continue;
    const uint32_t unit = row_unit(format);
    expect_experts(format, {.rows = kFewer ? 5u : 11u, .experts = 5, .chosen = 3, .n = 37, .k = unit}, gemv);
    expect_experts(format, {.rows = 1, .experts = 7, .chosen = 2, .n = 5, .k = 2 * unit, .per_pair = true}, gemv);
  }
  if (!kFewer) expect_experts(Format::q4_0, {.rows = 6, .experts = 40, .chosen = 8, .n = 70, .k = 1152}, gemv);
}
TEST(PackedGroupedBlock, ManyPairsAnExpert) {
  const char* const gemm = "vibee_packed_grouped_gemm_";
  for (const Format format : kFormats) {
    if (kFewer && format != Format::q4_k) continue;
    const uint32_t unit = row_unit(format);
    expect_experts(format, {.rows = 45, .experts = 3, .chosen = 1, .n = 70, .k = unit}, gemm);
    expect_experts(format, {.rows = 19, .experts = 4, .chosen = 3, .n = 18, .k = 2 * unit, .per_pair = true}, gemm);
  }
}
TEST(PackedGroupedBlock, NothingToMultiply) {
  expect_experts(Format::q4_0, {.rows = 3, .experts = 2, .chosen = 1, .n = 20, .k = 0}, "vibee_packed_grouped_gemv_");
  const auto blocks = [](uint32_t rows, uint32_t n) {
    const GroupedSizes sizes{.pairs = rows, .n = n, .k = 32, .experts = 2, .rows = rows};
    const LaunchShape launch = packed_grouped_shape(Format::q4_0, sizes).value().launch;
    return launch.grid[0] * launch.grid[1];
  };
  EXPECT_EQ(blocks(0, 20), 0u);
  EXPECT_EQ(blocks(3, 0), 0u);
}

TEST(PackedGroupedShape, SaysWhatHasNoKernel) {
  const auto refused = [](Format format, const GroupedSizes& sizes) {
    return std::string(packed_grouped_shape(format, sizes).status().message());
  };
  EXPECT_THAT(refused(Format::lut4, {.pairs = 1, .n = 1, .k = 32}), HasSubstr("lut4: no kernel"));
  EXPECT_THAT(refused(Format::q4_k, {.pairs = 1, .n = 1, .k = 32}), HasSubstr("superblocks of 256"));
  EXPECT_THAT(refused(Format::q4_0, {.pairs = 1, .n = 1, .k = 32, .experts = 0}), HasSubstr("0 experts"));
  EXPECT_THAT(refused(Format::q4_0, {.pairs = 1, .n = 0xffffffff, .k = 32}), HasSubstr("columns"));
}

}  // namespace
}  // namespace vibee
