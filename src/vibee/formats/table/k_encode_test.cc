// SPDX-License-Identifier: Apache-2.0
// The searched encoders against those of ggml on the same numbers (tools/make_encoder_goldens.py), with and without
// importance; against the errors that plain rounding of normal numbers has; and on every instruction set alike.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <vector>

#include "vibee/base/math/half.h"
#include "vibee/base/random/philox.h"
#include "vibee/base/simd/isa.h"
#include "vibee/formats/integer/scale_search.h"
#include "vibee/formats/packed/format.h"
#include "vibee/formats/packed/little_endian.h"

namespace vibee {
namespace {

constexpr size_t kColumns = 512;

std::vector<uint8_t> golden(const std::string& name) {
  std::ifstream in(std::string(VIBEE_SOURCE_DIR) + "/data/golden/encode/" + name, std::ios::binary);
  EXPECT_TRUE(in) << name;
  return {std::istreambuf_iterator<char>(in), {}};
}
std::vector<float> halves(const std::string& name) {
  const std::vector<uint8_t> bytes = golden(name);
  std::vector<float> out(bytes.size() / 2);
  for (size_t i = 0; i < out.size(); ++i) out[i] = half_to_float(load_u16(bytes.data() + 2 * i));
  return out;
}
/// The row of the goldens, for every row.
std::vector<float> importance(size_t rows) {
  const std::vector<uint8_t> bytes = golden("importance.bin");
  std::vector<float> row(bytes.size() / 4), out;
  std::memcpy(row.data(), bytes.data(), bytes.size());
  for (size_t r = 0; r < rows; ++r) out.insert(out.end(), row.begin(), row.end());
  return out;
}

std::vector<float> through(const NumericFormat& f, const std::vector<float>& x, const float* weights) {
  std::vector<uint8_t> bytes(f.row_bytes(x.size()));
  std::vector<float> back(x.size());
  f.encode(x.data(), x.size(), weights, bytes.data());
  f.decode(bytes.data(), x.size(), back.data());
  return back;
}

double rmse(const std::vector<float>& x, const std::vector<float>& y, const float* weights = nullptr) {
  double sum = 0, all = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double w = weights ? weights[i] : 1;
    sum += w * (double(x[i]) - y[i]) * (double(x[i]) - y[i]);
    all += w;
  }
  return std::sqrt(sum / all);
}

TEST(KEncode, ErrorsAreNotAboveThoseOfGgml) {
  std::ifstream lines(std::string(VIBEE_SOURCE_DIR) + "/data/golden/encode/errors.txt");
  std::string format, distribution, plain, weighted;
  struct Mean {
    double plain = 0, weighted = 0;
    int n = 0;
  };
  std::map<std::string, Mean> means;
  while (lines >> format >> distribution >> plain >> weighted) {
    const NumericFormat& f = info(*parse_format(format));
    const std::vector<float> x = halves(distribution + ".bin"), w = importance(x.size() / kColumns);
    const double alone = rmse(x, through(f, x, nullptr)) / std::stod(plain);
    EXPECT_LE(alone, 1.00001) << format << " " << distribution;
    Mean& mean = means[format];
    mean.plain += alone;
    ++mean.n;
    if (weighted == "-") continue;
    const double with = rmse(x, through(f, x, w.data()), w.data()) / std::stod(weighted);
    EXPECT_LE(with, 1.00001) << format << " " << distribution << " with importance";
    mean.weighted += with;
  }
  EXPECT_EQ(means.size(), 13u);
  for (const auto& [name, mean] : means)
    std::printf("%s: %.4f of ggml's error, %.4f with importance\n", name.c_str(), mean.plain / mean.n,
                mean.weighted / mean.n);
}

/// Relative mean square errors of plain rounding of normal numbers in rows of 576; of NVFP4, of the better of two
/// scales a sub-block ("four over six").
TEST(KEncode, NormalNumbersHaveTheErrorsThatTheyMust) {
  const std::pair<Format, double> floors[] = {
      {Format::q8_0, 2.9e-5}, {Format::q5_1, 1.43e-3}, {Format::q5_0, 1.82e-3}, {Format::iq4_nl, 5.7e-3},
      {Format::q4_1, 6.1e-3}, {Format::q4_0, 7.4e-3},  {Format::nvfp4, 7.6e-3}, {Format::mxfp4, 1.33e-2}};
  RandomStream random(21, Purpose::test);
  std::vector<float> x(576 * 128);
  double square = 0;
  for (float& v : x) {
    v = random.normal();
    square += double(v) * v;
  }
  square /= double(x.size());
  for (const auto& [format, floor] : floors) {
    const double error = rmse(x, through(info(format), x, nullptr));
    EXPECT_LE(error * error / square, 1.03 * floor) << info(format).name;
  }
}

TEST(KEncode, WhatIsOnTheGridStaysThere) {
  RandomStream random(5, Purpose::test);
  for (const Format format : {Format::q2_k, Format::q3_k, Format::q4_k, Format::q5_k, Format::q6_k, Format::iq4_nl,
                              Format::iq4_xs, Format::nvfp4}) {
    const NumericFormat& f = info(format);
    std::vector<float> x(256 * 16);
    for (float& v : x) v = random.normal();
    const std::vector<float> once = through(f, x, nullptr), twice = through(f, once, nullptr);
    double first = 0, second = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      first += std::fabs(x[i] - once[i]);
      second += std::fabs(once[i] - twice[i]);
    }
    EXPECT_LT(second, 0.2 * first) << f.name;
  }
}

/// Columns that count for nothing may be anything, and others become better for it.
TEST(KEncode, ImportanceMovesTheError) {
  RandomStream random(6, Purpose::test);
  std::vector<float> x(512 * 8), weights(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    x[i] = random.normal();
    weights[i] = i % 2 ? 1.0f : 0.0f;
  }
  for (const NumericFormat& f : all_formats()) {
    if (!f.in_gguf() || f.block_elems == 1 || f.format == Format::q8_0 || f.format == Format::tq1_0 ||
        f.format == Format::tq2_0)
      continue;
    const double before = rmse(x, through(f, x, nullptr), weights.data()),
                 after = rmse(x, through(f, x, weights.data()), weights.data());
    EXPECT_LT(after, 0.999 * before) << f.name;
    const std::vector<float> none(x.size(), 0.0f);  // all that counts is nothing: any numbers will do
    for (const float v : through(f, x, none.data())) EXPECT_TRUE(std::isfinite(v)) << f.name;
  }
}

/// Every kernel of every instruction set that this machine has.
TEST(ScaleSearch, InstructionSetsGiveTheSameBytes) {
  const SearchKernels* all[] = {&search_scalar, &search_avx2, &search_avx512};
  RandomStream random(9, Purpose::test);
  float values[kTableValues];
  for (int i = 0; i < kTableValues; ++i) values[i] = float(i * i) - 100;
  const float scales[] = {0, 0.01f, 0.02f, 0.05f, 0.1f, 0.2f, 0.5f, 1};
  const float odd[] = {0.0f, 1e-45f, 65504.0f, 1e30f, -3e38f, INFINITY, -INFINITY, NAN};
  for (int round = 0; round < 200; ++round) {
    std::vector<float> x(512), w(512);
    for (size_t i = 0; i < x.size(); ++i) {
      x[i] = round < 100 || random.below(4) ? random.normal() : odd[random.below(uint32_t(std::size(odd)))];
      w[i] = random.uniform();
    }
    const int elements = round % 2 ? 32 : 16,
              group = round % 3 == 0   ? 1
                      : round % 3 == 1 ? 8
                                       : 16,
              count = group == 1 ? 1 + round % 16 : 16;
    const float* weights = round % 5 ? w.data() : nullptr;
    for (int kernel = 0; kernel < 4; ++kernel) {
      Searched first, other;
      for (int isa = 0; isa < int(std::size(all)) && isa <= int(detected_isa()); ++isa) {
        Searched& out = isa == 0 ? first : other;
        std::memset(static_cast<void*>(&out), 0, sizeof out);
        const SearchKernels& k = *all[isa];
        if (kernel == 0) k.affine({elements, group, 15, 63, 63}, x.data(), weights, count, &out);
        if (kernel == 1) k.symmetric({elements, group, 4, -32, 31, 7, 0.2f}, x.data(), weights, count, &out);
        if (kernel == 2) k.table({elements, group, values, -32, 31, 3, 5}, x.data(), weights, count, &out);
        if (kernel == 3)
          k.listed({elements, group, scales, int(std::size(scales)), 2, 2}, x.data(), weights, count, &out);
        if (isa == 0) continue;
        ASSERT_EQ(std::memcmp(&first, &other, sizeof first), 0) << kernel << " " << isa << " " << round;
      }
    }
  }
}

}  // namespace
}  // namespace vibee
