// SPDX-License-Identifier: Apache-2.0
// Products by weights in panels as block programs: the bytes of the CPU's scalar kernels, of every integer format.
#include "vibee/kernels/gemm/packed_gemm_block.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "vibee/kernels/gemm/gemm_cases.h"
#include "vibee/kernels/gemm/packed_gemm_shape.h"
#include "vibee/kit/block_trial.h"

namespace vibee {
namespace {

using testing::HasSubstr;

TrialArray<uint8_t> copied(const uint8_t* from, uint64_t n) {
  TrialArray<uint8_t> to(n);
  if (n > 0) std::memcpy(to.data(), from, n);
  return to;
}
/// Rows by a rule, in groups of one row, by the CPU's scalar functions.
TrialArray<uint8_t> records_of(ActRule rule, const TrialArray<float>& x, uint32_t rows, uint32_t k) {
  TrialArray<uint8_t> records(quantized_bytes(rows, k));
  for (uint32_t r = 0; r < rows; ++r)
    quantize_row(pointwise_scalar, rule, x.data() + uint64_t(r) * k, k,
                 {records.data() + uint64_t(r) * (k / 32) * kActRecordBytes, 1, 0});
  return records;
}
std::vector<Format> integer_formats() {
  std::vector<Format> formats;
  for (const NumericFormat& f : all_formats())
    if (is_integer(f.format)) formats.push_back(f.format);
  return formats;
}

struct Weight {
  Format format;
  uint32_t n, k;
  std::vector<uint8_t> rows;
  TrialArray<uint8_t> panels;
  PackedWeight view() const { return {format, n, k, 16, panels.data()}; }
};
Weight weight(Format format, uint32_t n, uint32_t k) {
  RandomStream random(31, Purpose::test, n * 1000 + k);
  Weight w{format, n, k, random_rows(format, n, k, random), {0}};
  w.rows.resize(w.rows.size() + 1);
  w.panels = copied(pack(format, 16, n, k, w.rows).data(), PackedWeight{format, n, k, 16, nullptr}.bytes());
  return w;
}

void expect_product(Format format, uint32_t rows, uint32_t n, uint32_t k) {
  const Weight w = weight(format, n, k);
  auto x = normals<float>(uint64_t(rows) * k, rows);
  for (uint32_t i = 0; rows > 2 && i < k; ++i) x[k + i] = 0;
  const auto records = records_of(act_rule(format), x, rows, k);
  std::vector<float> floats(x.data(), x.data() + x.size());
  floats.push_back(0);  // rows of nothing have an address too
  const std::vector<float> want =
      multiply(gemm_kernel(format, Isa::scalar), w.view(), quantize(format, floats, rows, k), floats, rows);
  TrialArray<float> d(uint64_t(rows) * n);
  PackedGemmArgs args;
  args.product.a = records.data(), args.product.b = w.panels.data(), args.product.d = d.data();
  args.product.ld_d = n, args.product.m = rows, args.product.n = n, args.product.k = k;
  Result<PanelForm> form = panel_form(format, k);
  ASSERT_TRUE(form.ok()) << form.status().message();
  args.panel = form.value();
  Result<GemmShape> shape = packed_gemm_shape(format, rows, n, k);
  ASSERT_TRUE(shape.ok()) << shape.status().message();
  const Status status =
      run_kernel(shape->kernel, shape->launch, args, {records.memory(), w.panels.memory()}, {d.memory()});
  const auto named = fmt::format("{} {} {}x{}x{}", shape->kernel, info(format).name, rows, n, k);
  ASSERT_TRUE(status.ok()) << named << ": " << status.message();
  for (uint64_t i = 0; i < want.size(); ++i)
    ASSERT_EQ(float_bits(want[i]), float_bits(d[i])) << named << " at " << i << ": " << want[i] << " and " << d[i];
}

TEST(PackedGemmBlock, FewRowsHaveTheBytesOfTheCpu) {
  for (const Format format : integer_formats()) {
    const uint32_t unit = row_unit(format);
    expect_product(format, 1, 33, unit);
    expect_product(format, 3, 17, unit * (unit == 32 ? 35 : 3));
    expect_product(format, 8, 5, unit * 2);
  }
}
TEST(PackedGemmBlock, ManyRowsHaveTheBytesOfTheCpu) {
  for (const Format format : integer_formats()) {
    const uint32_t unit = row_unit(format);
    expect_product(format, 9, 70, unit);
    expect_product(format, 67, 19, unit * 2);
  }
}
TEST(PackedGemmBlock, LongRows) {
  for (const Format format : {Format::q4_0, Format::q4_k, Format::q6_k, Format::nvfp4, Format::qoq64, Format::atom128})
    for (const uint32_t rows : {1u, 2u, 5u, 11u}) expect_product(format, rows, 48, 2304);
}
TEST(PackedGemmBlock, NothingToMultiply) {
  for (const uint32_t rows : {0u, 1u, 9u}) {
    expect_product(Format::q4_0, rows, 3, 0);
    expect_product(Format::qoq32, rows, 3, 0);
    expect_product(Format::q4_0, rows, 0, 32);
  }
}

TEST(PackedGemmBlock, EpilogueIsThatOfProducts) {
  for (const uint32_t rows : {4u, 12u}) {
    const uint32_t n = 37, k = 64;
    const Weight w = weight(Format::q8_0, n, k);
    const auto x = normals<float>(uint64_t(rows) * k, 7);
    const auto records = records_of(ActRule::block, x, rows, k);
    const auto bias = normals<float>(n, 1), factor = normals<float>(rows * n, 2),
               residual = normals<float>(rows * n, 3);
    TrialArray<float> d(rows * n), plain(rows * n);
    PackedGemmArgs args;
    args.product.a = records.data(), args.product.b = w.panels.data(), args.product.d = plain.data();
    args.product.ld_d = n, args.product.m = rows, args.product.n = n, args.product.k = k;
    args.panel = panel_form(Format::q8_0, k).value();
    Result<GemmShape> shape = packed_gemm_shape(Format::q8_0, rows, n, k);
    ASSERT_TRUE(shape.ok());
    const std::vector<ShimMemory> in = {records.memory(), w.panels.memory(), bias.memory(), factor.memory(),
                                        residual.memory()};
    ASSERT_TRUE(run_kernel(shape->kernel, shape->launch, args, in, {plain.memory()}).ok());
    args.product.d = d.data(), args.product.bias = bias.data(), args.product.multiply = factor.data();
    args.product.residual = residual.data();
    ASSERT_TRUE(run_kernel(shape->kernel, shape->launch, args, in, {d.memory()}).ok());
    for (uint32_t i = 0; i < rows * n; ++i)
      ASSERT_EQ(d[i], (plain[i] + bias[i % n]) * factor[i] + residual[i]) << rows << " " << i;
  }
}

TEST(PackedGemmBlock, PanelsThatEndTooEarlyAreFound) {
  const Weight w = weight(Format::q4_0, 20, 64);
  const auto records = records_of(ActRule::block, normals<float>(64, 1), 1, 64);
  TrialArray<float> d(20);
  PackedGemmArgs args;
  args.product.a = records.data(), args.product.b = w.panels.data(), args.product.d = d.data();
  args.product.ld_d = 20, args.product.m = 1, args.product.n = 20, args.product.k = 64;
  args.panel = panel_form(Format::q4_0, 64).value();
  Result<GemmShape> shape = packed_gemm_shape(Format::q4_0, 1, 20, 64);
  ASSERT_TRUE(shape.ok());
  const ShimMemory early{w.panels.data(), w.panels.size() - 1};
  EXPECT_EQ(run_kernel(shape->kernel, shape->launch, args, {records.memory(), early}, {d.memory()}).code(),
            Code::invalid);
}

void expect_quantized(ActRule rule, const TrialArray<float>& x, uint32_t rows, uint32_t k) {
  const auto want = records_of(rule, x, rows, k);
  TrialArray<uint8_t> got(want.size());
  Result<QuantizeRowsArgs> args = quantize_rows_args(rule, k);
  ASSERT_TRUE(args.ok()) << args.status().message();
  args->x = x.data(), args->records = got.data();
  const GemmShape shape = quantize_rows_shape(rows, k);
  const Status status = run_kernel(shape.kernel, shape.launch, args.value(), {x.memory()}, {got.memory()});
  ASSERT_TRUE(status.ok()) << status.message();
  for (uint64_t i = 0; i < want.size(); ++i)
    ASSERT_EQ(want[i], got[i]) << name(rule) << " " << rows << "x" << k << " byte " << i % 48 << " of record "
                               << i / 48;
}
TEST(QuantizeRowsBlock, HasTheBytesOfTheCpu) {
  for (const ActRule rule : {ActRule::block, ActRule::row, ActRule::int4x32, ActRule::int4x64, ActRule::int4x128,
                             ActRule::atom32, ActRule::atom64, ActRule::atom128}) {
    const uint32_t unit = std::max(act_rule_group(rule), 32u);
    for (const uint32_t parts : {0u, 1u, 3u, 11u, 40u})
      for (const uint32_t lead : {0u, 1u})
        expect_quantized(rule, normals<float>(3 * parts * unit, parts, 2, lead), 3, parts * unit);
    // Zeros of both signs, numbers that vanish beside others or at all, a half, infinity and none.
    const float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
    for (const float one : {0.0f, -0.0f, -1e-38f, -1e-30f, 0.5f, -127.0f, inf, -inf, nan}) {
      TrialArray<float> x(2 * 256);
      for (uint32_t i = 0; i < x.size(); ++i) x[i] = i < 256 ? -1e-37f : i % 2 ? -0.0f : float(i % 64) - 31;
      for (uint32_t i = 32; i < 64; ++i) x[i] = one;
      x[300] = one;
      expect_quantized(rule, x, 2, 256);
    }
  }
}

TEST(PackedEmbedBlock, HasTheBytesOfTheCpu) {
  for (const Format format : integer_formats())
    for (const float by : {1.0f, 7.25f})
      for (const uint32_t lead : {0u, 1u}) {
        const uint32_t n = 19, k = row_unit(format) * 3, rows = 6;
        const Weight w = weight(format, n, k);
        TrialArray<int32_t> ids(rows);
        const int32_t some[] = {0, 18, -1, 19, 7, 16};
        std::copy(some, some + rows, ids.data());
        TrialArray<float> out(rows * k, lead), want(rows * k, lead);
        for (uint32_t r = 0; r < rows; ++r) {
          if (uint32_t(some[r]) >= n) continue;
          decode_row(w.view(), uint32_t(some[r]), want.data() + r * k);
          if (by != 1.0f) pointwise_scalar.scale(want.data() + r * k, by, k, want.data() + r * k);
        }
        Result<GemmShape> shape = packed_embed_shape(format, rows, k);
        ASSERT_TRUE(shape.ok());
        const PackedEmbedArgs args{ids.data(), w.panels.data(), out.data(), n, by, panel_form(format, k).value()};
        const Status status =
            run_kernel(shape->kernel, shape->launch, args, {ids.memory(), w.panels.memory()}, {out.memory()});
        ASSERT_TRUE(status.ok()) << status.message();
        EXPECT_TRUE(same_bytes(out, want)) << info(format).name << " " << by;
      }
}

TEST(PackedGemmShape, ChoosesByFormatAndRows) {
  const auto expect = [](Format format, uint32_t rows, const char* kernel, uint32_t blocks, uint32_t shared) {
    const Result<GemmShape> shape = packed_gemm_shape(format, rows, 4100, 4096);
    ASSERT_TRUE(shape.ok()) << shape.status().message();
    EXPECT_EQ(shape.value().kernel, kernel);
    EXPECT_NE(find_host_kernel(kernel), nullptr) << kernel;
    EXPECT_EQ(shape.value().launch.grid[0], blocks) << kernel;
    EXPECT_EQ(shape.value().launch.threads, rows > 8 ? 128u : 256u) << kernel;
    EXPECT_EQ(shape.value().launch.dynamic_shared, shared) << kernel;
  };
  expect(Format::q4_0, 1, "vibee_packed_gemv_nibbles", 129, 4096);
  expect(Format::q4_k, 8, "vibee_packed_gemv_nibbles", 129, 98304);
  expect(Format::nvfp4, 2, "vibee_packed_gemv_named", 129, 16384);
  expect(Format::q6_k, 9, "vibee_packed_gemm_parts", 65, 0);
  expect(Format::q8_0, 65, "vibee_packed_gemm_bytes", 195, 0);
  expect(Format::q8_0, 0, "vibee_packed_gemv_bytes", 0, 0);
}
TEST(PackedGemmShape, SaysWhatHasNoKernel) {
  EXPECT_THAT(packed_gemm_shape(Format::mxfp8, 1, 1, 32).status().message(), HasSubstr("mxfp8: no kernel"));
  EXPECT_THAT(packed_gemm_shape(Format::bf16, 1, 1, 32).status().message(), HasSubstr("bf16: no kernel"));
  EXPECT_THAT(packed_gemm_shape(Format::q4_k, 1, 1, 32).status().message(), HasSubstr("superblocks of 256"));
  EXPECT_THAT(packed_embed_shape(Format::lut4, 1, 32).status().message(), HasSubstr("lut4: no kernel"));
  EXPECT_THAT(packed_gemm_shape(Format::q4_0, 0xffffffff, 0xffffffff, 32).status().message(), HasSubstr("tiles"));
  EXPECT_THAT(quantize_rows_args(ActRule::floats, 32).status().message(), HasSubstr("stay floats"));
  EXPECT_THAT(quantize_rows_args(ActRule::int4x128, 64).status().message(), HasSubstr("groups of 128"));
}

}  // namespace
}  // namespace vibee
