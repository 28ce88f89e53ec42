// SPDX-License-Identifier: Apache-2.0
// Products by weights in panels of small floats as block programs: the bytes of the CPU's scalar kernels.
#include "vibee/kernels/gemm/float_panel_gemm_block.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>

#include "vibee/kernels/gemm/float_panel_gemm_shape.h"
#include "vibee/kernels/gemm/gemm_cases.h"
#include "vibee/kit/block_trial.h"

namespace vibee {
namespace {

using testing::HasSubstr;

std::vector<Format> scaled_floats() {
  std::vector<Format> formats;
  for (const NumericFormat& f : all_formats())
    if (is_scaled_float(f.format)) formats.push_back(f.format);
  return formats;
}

struct Weight {
  Format format;
  uint32_t n, k;
  TrialArray<uint8_t> panels;
  PackedWeight view() const { return {format, n, k, 16, panels.data()}; }
};
Weight weight(Format format, uint32_t n, uint32_t k) {
  RandomStream random(32, Purpose::test, n * 1000 + k);
  std::vector<uint8_t> rows = random_rows(format, n, k, random);
  rows.resize(rows.size() + 1);  // rows of nothing have an address too
  Weight w{format, n, k, {PackedWeight{format, n, k, 16, nullptr}.bytes()}};
  const auto packed = pack(format, 16, n, k, rows);
  if (w.panels.size() > 0) std::memcpy(w.panels.data(), packed.data(), w.panels.size());
  return w;
}

void expect_product(Format format, uint32_t rows, uint32_t n, uint32_t k) {
  const Weight w = weight(format, n, k);
  const auto x = normals<float>(uint64_t(rows) * k, rows);
  std::vector<float> floats(x.data(), x.data() + x.size());
  floats.push_back(0);
  const std::vector<float> want = multiply(gemm_kernel(format, Isa::scalar), w.view(), {}, floats, rows);
  TrialArray<float> d(uint64_t(rows) * n);
  FloatPanelGemmArgs args;
  args.product.a = x.data(), args.product.b = w.panels.data(), args.product.d = d.data();
  args.product.ld_a = k, args.product.ld_d = n, args.product.m = rows, args.product.n = n, args.product.k = k;
  const Result<FloatPanelForm> form = float_panel_form(format, k);
  ASSERT_TRUE(form.ok()) << form.status().message();
  args.panel = *form;
  const Result<GemmShape> shape = float_panel_gemm_shape(format, rows, n, k);
  ASSERT_TRUE(shape.ok()) << shape.status().message();
  const Status status = run_kernel(shape->kernel, shape->launch, args, {x.memory(), w.panels.memory()}, {d.memory()});
  const auto named = fmt::format("{} {} {}x{}x{}", shape->kernel, info(format).name, rows, n, k);
  ASSERT_TRUE(status.ok()) << named << ": " << status.message();
  for (uint64_t i = 0; i < want.size(); ++i)
    ASSERT_EQ(std::bit_cast<uint32_t>(want[i]), std::bit_cast<uint32_t>(d[i]))
        << named << " at " << i << ": " << want[i] << " and " << d[i];
}

TEST(FloatPanelGemmBlock, HasTheBytesOfTheCpu) {
  EXPECT_EQ(scaled_floats().size(), 12u);
  for (const Format format : scaled_floats()) {
    const uint32_t unit = row_unit(format);
    expect_product(format, 1, 33, unit);
    expect_product(format, 8, 5, unit * 3);
    expect_product(format, 9, 70, unit);
    expect_product(format, 67, 19, unit * 2);
  }
  expect_product(Format::mxfp6, 3, 17, 32 * 9);  // rounds of four blocks, and one
}
TEST(FloatPanelGemmBlock, NothingToMultiply) {
  for (const uint32_t rows : {0u, 1u, 9u}) {
    expect_product(Format::mxfp8, rows, 3, 0);
    expect_product(Format::mxfp8, rows, 0, 32);
  }
}

TEST(FloatPanelGemmBlock, PanelsThatEndTooEarlyAreFound) {
  const Weight w = weight(Format::nf4s64, 20, 64);
  const auto x = normals<float>(64, 1);
  TrialArray<float> d(20);
  FloatPanelGemmArgs args;
  args.product.a = x.data(), args.product.b = w.panels.data(), args.product.d = d.data();
  args.product.ld_a = 64, args.product.ld_d = 20, args.product.m = 1, args.product.n = 20, args.product.k = 64;
  args.panel = float_panel_form(Format::nf4s64, 64).value();
  const GemmShape shape = float_panel_gemm_shape(Format::nf4s64, 1, 20, 64).value();
  const ShimMemory early{w.panels.data(), w.panels.size() - 1};
  EXPECT_EQ(run_kernel(shape.kernel, shape.launch, args, {x.memory(), early}, {d.memory()}).code(), Code::invalid);
}

TEST(FloatPanelEmbedBlock, HasTheBytesOfTheCpu) {
  for (const Format format : scaled_floats())
    for (const float by : {1.0f, 7.25f}) {
      const uint32_t n = 19, k = row_unit(format) * 3, rows = 6;
      const Weight w = weight(format, n, k);
      TrialArray<int32_t> ids(rows);
      const int32_t some[] = {0, 18, -1, 19, 7, 16};
      std::copy(some, some + rows, ids.data());
      TrialArray<float> out(rows * k), want(rows * k);
      for (uint32_t r = 0; r < rows; ++r) {
        if (uint32_t(some[r]) >= n) continue;
        decode_row(w.view(), uint32_t(some[r]), want.data() + r * k);
        if (by != 1.0f) pointwise_scalar.scale(want.data() + r * k, by, k, want.data() + r * k);
      }
      const GemmShape shape = float_panel_embed_shape(rows, k);
      const FloatPanelEmbedArgs args{
          ids.data(), w.panels.data(), out.data(), n, by, float_panel_form(format, k).value()};
      const Status status =
          run_kernel(shape.kernel, shape.launch, args, {ids.memory(), w.panels.memory()}, {out.memory()});
      ASSERT_TRUE(status.ok()) << status.message();
      EXPECT_TRUE(same_bytes(out, want)) << info(format).name << " " << by;
    }
}

TEST(FloatPanelGemmShape, SaysWhatHasNoKernel) {
  EXPECT_THAT(float_panel_form(Format::lut4, 64).status().message(), HasSubstr("lut4"));
  EXPECT_THAT(float_panel_form(Format::nf4s64, 32).status().message(), HasSubstr("superblocks of 64"));
  EXPECT_THAT(float_panel_gemm_shape(Format::mxfp8, 0x7fffffff, 0x7fffffff, 32).status().message(), HasSubstr("tiles"));
}

}  // namespace
}  // namespace vibee
