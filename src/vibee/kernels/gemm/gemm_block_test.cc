// SPDX-License-Identifier: Apache-2.0
// Products as block programs against double: edges, transposes, leading dimensions with slack that holds NaN, batches.
#include "vibee/kernels/gemm/gemm_block.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "vibee/kernels/gemm/gemm_block_fixture.h"

namespace vibee {
namespace {

using testing::HasSubstr;

using Trial = GemmTrial;

template <class A, class B, class Out>
void expect_gemm(const Trial& t) {
  expect_product<A, B, Out>(t,
                            [](const GemmSizes& sizes, const GemmArgs& args, const std::vector<ShimMemory>& read,
                               const std::vector<ShimMemory>& written) -> Result<std::string> {
                              VIBEE_ASSIGN(const GemmShape shape, gemm_shape(sizes));
                              VIBEE_TRY(run_kernel(shape.kernel, shape.launch, args, read, written));
                              return shape.kernel;
                            });
}

TEST(GemmBlock, GoesIntoC) {
  Trial t{.m = 70, .n = 40, .k = 33, .transposed_b = true, .beta = 1, .in_place = true};
  expect_gemm<Bf16, Bf16, Bf16>(t);
  expect_gemm<float, float, float>(t);
  t.beta = -0.5f, t.residual = true, t.slack = 1;
  expect_gemm<Half, Half, float>(t);
}

template <class F>
void each_layout(F&& f) {
  for (const bool ta : {false, true})
    for (const bool tb : {false, true}) f(ta, tb);
}

template <class T>
void expect_small_tiles() {
  each_layout([](bool ta, bool tb) {
    const uint32_t sizes[][3] = {{1, 1, 1}, {17, 5, 31}, {64, 64, 64}, {65, 97, 136}, {3, 72, 0}};
    for (const auto& [m, n, k] : sizes) expect_gemm<T, T, float>({m, n, k, ta, tb});
    expect_gemm<T, T, T>({33, 40, 72, ta, tb, 8, 0, 2});  // vectors with slack
    expect_gemm<T, T, T>({31, 33, 65, ta, tb, 3, 1, 2});  // nothing is aligned
  });
}
TEST(GemmBlock, SmallTilesOfBf16) { expect_small_tiles<Bf16>(); }
TEST(GemmBlock, SmallTilesOfF16) { expect_small_tiles<Half>(); }

TEST(GemmBlock, LargeTiles) {
  each_layout([](bool ta, bool tb) {
    Trial t{.m = 136, .n = 130, .k = 200, .transposed_a = ta, .transposed_b = tb, .processors = 1};
    expect_gemm<Bf16, Bf16, Bf16>(t);
    t.n = 16, t.m = 129, t.k = 41, t.slack = 1;
    expect_gemm<Half, Half, float>(t);
  });
}

TEST(GemmBlock, Floats) {
  each_layout([](bool ta, bool tb) {
    const uint32_t sizes[][3] = {{1, 1, 1}, {17, 5, 31}, {64, 64, 32}, {65, 97, 40}, {3, 72, 0}};
    for (const auto& [m, n, k] : sizes) expect_gemm<float, float, float>({m, n, k, ta, tb});
    expect_gemm<float, float, float>({33, 40, 24, ta, tb, 4, 0, 2});
    expect_gemm<float, float, Bf16>({31, 33, 17, ta, tb, 3, 1, 2});
  });
}

TEST(GemmBlock, FloatsHaveTheBytesOfTheCanonicalChain) {
  for (const uint32_t k : {1u, 15u, 16u, 17u, 100u}) {
    const auto a = normals<float>(7 * k, 1), b = normals<float>(9 * k, 2);
    TrialArray<float> d(7 * 9);
    GemmArgs args;
    args.a = a.data(), args.b = b.data(), args.d = d.data();
    args.ld_a = k, args.ld_b = 9, args.ld_d = 9, args.m = 7, args.n = 9, args.k = k;
    Result<GemmShape> shape = gemm_shape({GemmOperand::f32, GemmOperand::f32, false, false, 7, 9, k});
    ASSERT_TRUE(shape.ok());
    const Status status = run_kernel(shape->kernel, shape->launch, args, {a.memory(), b.memory()}, {d.memory()});
    ASSERT_TRUE(status.ok()) << status.message();
    for (uint32_t r = 0; r < 7; ++r)
      for (uint32_t j = 0; j < 9; ++j) {
        float s = 0;
        for (uint32_t i = 0; i < k; ++i) s = std::fma(a[r * k + i], b[i * 9 + j], s);
        EXPECT_EQ(d[r * 9 + j], s) << k;
      }
  }
}

TEST(GemmBlock, WholeNumbers) {
  const uint32_t sizes[][3] = {{1, 1, 1}, {17, 5, 31}, {64, 64, 128}, {65, 97, 200}, {3, 72, 0}};
  for (const auto& [m, n, k] : sizes) {
    Trial t{.m = m, .n = n, .k = k, .transposed_b = true};
    expect_gemm<int8_t, int8_t, float>(t);
    t.slack = m % 2 ? 3 : 16, t.scales = true;
    expect_gemm<int8_t, int8_t, Bf16>(t);
  }
  expect_gemm<int8_t, int8_t, float>(
      {.m = 130, .n = 20, .k = 96, .transposed_b = true, .processors = 1, .scales = true});
}

TEST(GemmBlock, FewRows) {
  for (const uint32_t m : {1u, 2u, 4u, 5u, 8u})
    for (const uint32_t k : {0u, 1u, 8u, 97u, 520u}) {
      Trial t{.m = m, .n = k == 97 ? 8u : 19u, .k = k, .transposed_b = true};
      expect_gemm<float, Bf16, float>(t);
      expect_gemm<Bf16, Bf16, Bf16>(t);
      t.slack = 8, t.batch = 2;
      expect_gemm<Bf16, Bf16, float>(t);
      t.slack = 3, t.lead = 1, t.bias = true;
      expect_gemm<float, Bf16, Half>(t);
    }
}

template <class A, class B>
void expect_epilogues() {
  for (const float alpha : {0.0f, 1.0f, -0.5f})
    for (const float beta : {0.0f, 1.0f, -0.5f}) {
      const Trial t{
          .m = 5, .n = 21, .k = 33, .transposed_b = true, .slack = beta == 1 ? 3u : 0u, .alpha = alpha, .beta = beta};
      expect_gemm<A, B, float>(t);
      expect_gemm<A, B, Bf16>(t);
    }
  for (const GemmActivation activation :
       {GemmActivation::none, GemmActivation::silu, GemmActivation::gelu_tanh, GemmActivation::gelu})
    for (const uint32_t parts : {0u, 1u, 2u, 4u, 8u, 15u}) {
      Trial t{.m = 6,
              .n = 24,
              .k = 32,
              .transposed_b = true,
              .batch = 2,
              .alpha = 0.25f,
              .beta = parts == 15 ? 1.0f : 0.0f};
      t.bias = parts & 1, t.pre = parts & 2, t.multiply = parts & 4, t.residual = parts & 8, t.activation = activation;
      expect_gemm<A, B, float>(t);
      t.n = 23;
      expect_gemm<A, B, Half>(t);
    }
}
TEST(GemmBlock, EpiloguesOfBf16) { expect_epilogues<Bf16, Bf16>(); }
TEST(GemmBlock, EpiloguesOfF16) { expect_epilogues<Half, Half>(); }
TEST(GemmBlock, EpiloguesOfFloats) { expect_epilogues<float, float>(); }

TEST(GemmBlock, OperandsThatEndTooEarlyAreFound) {
  const auto a = normals<Bf16>(64 * 64, 1), b = normals<Bf16>(64 * 64 - 1, 2);
  TrialArray<float> d(64 * 64);
  GemmArgs args;
  args.a = a.data(), args.b = b.data(), args.d = d.data();
  args.ld_a = args.ld_b = args.ld_d = args.m = args.n = args.k = 64;
  Result<GemmShape> shape = gemm_shape({.m = 64, .n = 64, .k = 64, .processors = 100});
  ASSERT_TRUE(shape.ok());
  EXPECT_EQ(run_kernel(shape->kernel, shape->launch, args, {a.memory(), b.memory()}, {d.memory()}).code(),
            Code::invalid);
}

TEST(GemmBlock, VectorsThatLdmatrixReadsLieInDifferentBanks) {
  const auto expect = [](auto tile, uint32_t rows, uint32_t vectors) {
    for (uint32_t first = 0; first < rows; first += 8)
      for (uint32_t v = 0; v < vectors; ++v) {
        uint32_t banks = 0;
        for (uint32_t r = first; r < first + 8; ++r) banks |= 1u << tile.at(r, v) / 4 % 8;
        EXPECT_EQ(banks, 0xffu) << first << " " << v;
      }
  };
  expect(OperandTile<Bf16, 128, true>{}, 128, 4);
  expect(OperandTile<Bf16, 128, false>{}, 32, 16);
  expect(OperandTile<Bf16, 64, true>{}, 64, 4);
  expect(OperandTile<Bf16, 64, false>{}, 32, 8);
}

TEST(GemmBlock, TilesAreTakenOnce) {
  for (const auto& [rows, columns] : {std::pair(1u, 1u), {1u, 7u}, {7u, 1u}, {8u, 3u}, {9u, 3u}, {31u, 5u}}) {
    std::vector<uint32_t> seen(rows * columns);
    for (uint32_t i = 0; i < rows * columns; ++i) {
      const TilePlace place = tile_place(i, rows, columns);
      ASSERT_LT(place.row, rows);
      ASSERT_LT(place.column, columns);
      ++seen[place.row * columns + place.column];
    }
    EXPECT_THAT(seen, testing::Each(1u));
  }
}

TEST(GemmShape, ChoosesByTypeAndSize) {
  const auto expect = [](const GemmSizes& sizes, const char* kernel, uint32_t blocks, uint32_t threads,
                         uint32_t shared) {
    const Result<GemmShape> shape = gemm_shape(sizes);
    ASSERT_TRUE(shape.ok()) << shape.status().message();
    EXPECT_EQ(shape.value().kernel, kernel);
    EXPECT_NE(find_host_kernel(kernel), nullptr) << kernel;
    EXPECT_EQ(shape.value().launch.grid[0], blocks) << kernel;
    EXPECT_EQ(shape.value().launch.grid[2], sizes.batch) << kernel;
    EXPECT_EQ(shape.value().launch.threads, threads) << kernel;
    EXPECT_EQ(shape.value().launch.dynamic_shared, shared) << kernel;
  };
  const auto f32 = GemmOperand::f32, bf16 = GemmOperand::bf16, f16 = GemmOperand::f16, s8 = GemmOperand::s8;
  expect({bf16, bf16, false, true, 1, 4096, 4096, 1, 132}, "vibee_gemv_bf16_bf16_1", 512, 128, 0);
  expect({f32, bf16, false, true, 8, 4097, 4096, 3, 132}, "vibee_gemv_bf16_f32_8", 513, 128, 0);
  expect({bf16, bf16, false, true, 9, 4096, 4096, 1, 132}, "vibee_gemm_bf16_64_nt", 64, 128, 32768);
  expect({bf16, bf16, true, true, 8, 4096, 4096, 1, 132}, "vibee_gemm_bf16_64_tt", 64, 128, 32768);
  expect({f16, f16, false, true, 8, 4096, 4096, 1, 132}, "vibee_gemm_f16_64_nt", 64, 128, 32768);
  expect({f16, f16, true, false, 4096, 4096, 64, 1, 132}, "vibee_gemm_f16_128_tn", 1024, 256, 65536);
  expect({bf16, bf16, false, false, 128, 128, 64, 132, 132}, "vibee_gemm_bf16_128_nn", 1, 256, 65536);
  expect({bf16, bf16, false, false, 128, 128, 64, 131, 132}, "vibee_gemm_bf16_64_nn", 4, 128, 32768);
  expect({s8, s8, false, true, 4096, 4096, 131071, 1, 132}, "vibee_gemm_s8_128_nt", 1024, 256, 65536);
  expect({f32, f32, true, true, 65, 64, 64, 2, 1}, "vibee_gemm_f32_64_tt", 2, 64, 0);
  expect({f32, f32, false, false, 0, 64, 64, 1, 1}, "vibee_gemm_f32_64_nn", 0, 64, 0);
  expect({bf16, bf16, false, true, 0, 64, 64, 1, 1}, "vibee_gemv_bf16_bf16_1", 0, 128, 0);
}

TEST(GemmShape, SaysWhatHasNoKernel) {
  const auto refusal = [](const GemmSizes& sizes) { return gemm_shape(sizes).status().message(); };
  EXPECT_THAT(refusal({.m = 1, .n = 1, .k = 1, .batch = 65536}), HasSubstr("a batch of 65536"));
  EXPECT_THAT(refusal({.m = 1, .n = 1, .k = 1, .batch = 0}), HasSubstr("a batch of 0"));
  EXPECT_THAT(refusal({GemmOperand::f32, GemmOperand::bf16, false, true, 9, 5, 7}),
              HasSubstr("f32 [9, 7] by bf16 [7, 5]"));
  EXPECT_THAT(refusal({GemmOperand::s8, GemmOperand::s8, false, false, 9, 5, 7}), HasSubstr("A is as is and B as is"));
  EXPECT_THAT(refusal({GemmOperand::s8, GemmOperand::s8, false, true, 9, 5, 131072}), HasSubstr("a depth of 131072"));
  EXPECT_THAT(refusal({.transposed_a = true, .m = 0x7fffffff, .n = 0x7fffffff, .k = 1}),
              HasSubstr("has 281474976710656 tiles"));
  EXPECT_THAT(refusal({.m = 0x80000000, .n = 1, .k = 1}), HasSubstr("m 2147483648, n 1, k 1"));
}

}  // namespace
}  // namespace vibee
