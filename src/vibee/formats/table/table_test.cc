// SPDX-License-Identifier: Apache-2.0
// Every row of the table against what the `gguf` package decodes and encodes (tools/make_block_goldens.py), bit for
// bit.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <vector>

#include "vibee/base/math/half.h"
#include "vibee/base/random/philox.h"
#include "vibee/formats/packed/format.h"
#include "vibee/formats/packed/little_endian.h"

namespace vibee {
namespace {

std::vector<uint8_t> golden(const std::string& name) {
  std::ifstream in(std::string(VIBEE_SOURCE_DIR) + "/data/golden/blocks/" + name + ".bin", std::ios::binary);
  EXPECT_TRUE(in) << name;
  return {std::istreambuf_iterator<char>(in), {}};
}

std::vector<float> golden_floats(const std::string& name) {
  const std::vector<uint8_t> bytes = golden(name);
  std::vector<float> out(bytes.size() / 4);
  std::memcpy(out.data(), bytes.data(), out.size() * 4);
  return out;
}

class EveryFormat : public testing::TestWithParam<Format> {};
INSTANTIATE_TEST_SUITE_P(Rows, EveryFormat, testing::ValuesIn([] {
                           std::vector<Format> all;
                           for (const NumericFormat& f : all_formats()) all.push_back(f.format);
                           return all;
                         }()),
                         [](const auto& row) { return std::string(vibee::info(row.param).name); });

TEST_P(EveryFormat, DecodesAsTheGoldens) {
  const NumericFormat& f = info(GetParam());
  const std::vector<uint8_t> blocks = golden(std::string(f.name) + ".blocks");
  const std::vector<float> want = golden_floats(std::string(f.name) + ".floats");
  ASSERT_EQ(want.size(), 4096u);
  ASSERT_EQ(f.row_bytes(want.size()), blocks.size());
  std::vector<float> got(want.size());
  f.decode(blocks.data(), got.size(), got.data());
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_EQ(std::bit_cast<uint32_t>(got[i]), std::bit_cast<uint32_t>(want[i]))
        << f.name << " element " << i << ": " << got[i] << " " << want[i];
  }
}

/// Putting codes keeps the scales: a block in which every element has code c holds what other codes beside it hold.
TEST_P(EveryFormat, CodesArePutOneByOneAndScalesStay) {
  const NumericFormat& f = info(GetParam());
  if (f.levels == 0) GTEST_SKIP() << "no codes";
  const std::vector<uint8_t> blocks = golden(std::string(f.name) + ".blocks");
  const uint32_t n = f.block_elems;
  std::vector<std::vector<float>> all(f.levels, std::vector<float>(n));
  std::vector<uint8_t> block(blocks.begin(), blocks.begin() + f.block_bytes), codes(n);
  for (uint32_t c = 0; c < f.levels; ++c) {
    codes.assign(n, uint8_t(c));
    f.put_codes(codes.data(), block.data());
    f.decode(block.data(), n, all[c].data());
  }
  RandomStream random(1, Purpose::test);
  for (uint8_t& c : codes) c = uint8_t(random.below(f.levels));
  f.put_codes(codes.data(), block.data());
  std::vector<float> mixed(n), before(n);
  f.decode(block.data(), n, mixed.data());
  for (uint32_t i = 0; i < n; ++i)
    EXPECT_EQ(std::bit_cast<uint32_t>(mixed[i]), std::bit_cast<uint32_t>(all[codes[i]][i])) << f.name << " " << i;
  // Every element of the golden block is one of the codes' values under its scales.
  f.decode(blocks.data(), n, before.data());
  for (uint32_t i = 0; i < n; ++i) {
    bool found = std::isnan(before[i]);
    for (uint32_t c = 0; c < f.levels && !found; ++c) found = all[c][i] == before[i];
    EXPECT_TRUE(found) << f.name << " " << i << " " << before[i];
  }
}

TEST_P(EveryFormat, DecodesEachBlockOnItsOwn) {
  const NumericFormat& f = info(GetParam());
  if (f.head_bytes != 0) GTEST_SKIP() << "blocks of a row share what stands before them";
  const std::vector<uint8_t> blocks = golden(std::string(f.name) + ".blocks");
  const std::vector<float> want = golden_floats(std::string(f.name) + ".floats");
  std::vector<float> got(f.block_elems + 1, 12345.0f);
  for (size_t b = 0; b < want.size() / f.block_elems; b += 5) {
    f.decode(blocks.data() + b * f.block_bytes, f.block_elems, got.data());
    ASSERT_EQ(std::memcmp(got.data(), want.data() + b * f.block_elems, f.block_elems * 4), 0) << b;
    ASSERT_EQ(got.back(), 12345.0f);
  }
}

class EveryWriter : public testing::TestWithParam<Format> {};
INSTANTIATE_TEST_SUITE_P(Rows, EveryWriter, testing::ValuesIn([] {
                           std::vector<Format> all;
                           for (const NumericFormat& f : all_formats())
                             if (f.encode != nullptr) all.push_back(f.format);
                           return all;
                         }()),
                         [](const auto& row) { return std::string(vibee::info(row.param).name); });

/// Levels of a uniform grid over (-1, 1) whose error the encoder should have on uniform numbers.
double levels_of(const NumericFormat& f) {
  switch (f.format) {
    case Format::tq1_0:
    case Format::tq2_0:
      return 2;  // -1, 0, 1
    // Scaled by 1/8 a block below 1 ends at 0.75: the quarter above has a mean square of 0.25^2 / 3, the quarter from
    // 0.5 a step of 0.25, together an RMSE of 0.083.
    case Format::mxfp4: return 7;
    case Format::nvfp4:
    case Format::nvfp4s: return 10;  // its scales follow a block's largest magnitude more closely
    case Format::iq4_nl:
    case Format::iq4_xs:
      return 14;  // of 16 levels, those at the ends are far apart
    // Tables: steps of E4M3's three bits of mantissa, of NF4 and FP4 the widest ones near the ends.
    case Format::e4m3s32:
    case Format::e4m3s128: return 24;
    case Format::mxfp8: return 16;  // above 1.75 times a power of two its codes end
    case Format::mxfp8e5m2: return 10;
    case Format::e2m3s32:
    case Format::e2m3s128: return 22;
    case Format::mxfp6: return 14;
    case Format::e3m2s32:
    case Format::e3m2s128: return 11;
    case Format::mxfp6e3m2: return 9;
    case Format::nf4s64: return 9;
    case Format::fp4s64: return 6;
    case Format::qoq32:
    case Format::qoq64:
    case Format::qoq128:
      return 14.5;  // the group's scale is a whole number, here 15 or 16 of 119
    // Clipped at 0.85 of the largest: steps of 2 * 0.85 / 14, and a mean square of 0.0005 beyond the last of them.
    case Format::i4a32:
    case Format::i4a64:
    case Format::i4a128:
    case Format::atom32:
    case Format::atom64:
    case Format::atom128: return 14.5;
    case Format::i8s32:
    case Format::i8s64:
    case Format::i8s128: return 254;
    default:
      if (f.head_bytes != 0) return std::exp2(f.name[3] - '0');  // means of uniform numbers are a grid nearly
      return std::exp2(f.name[0] == 'q' || f.name[0] == 'i' ? f.name[1] - '0'
                                                            : 8);  // q5_k has 5-bit codes; bf16 8 significant bits
  }
}

TEST_P(EveryWriter, EncodesWithinHalfAStepAndStaysInItsBytes) {
  const NumericFormat& f = info(GetParam());
  RandomStream random(7, Purpose::test);
  const double levels = levels_of(f);
  std::vector<float> x(512), back(512);
  for (int round = 0; round < 20; ++round) {
    for (float& v : x) v = random.uniform() * 2 - 1;
    std::vector<uint8_t> bytes(f.row_bytes(x.size()) + 1, 0xa5);
    f.encode(x.data(), x.size(), nullptr, bytes.data());
    ASSERT_EQ(bytes.back(), 0xa5);
    f.decode(bytes.data(), x.size(), back.data());
    double squares = 0;
    for (size_t i = 0; i < x.size(); ++i) squares += double(x[i] - back[i]) * (x[i] - back[i]);
    // Uniform in (-1, 1) with a step of 2 / levels has an RMSE of step / sqrt(12); scales and absmax grids cost a
    // little.
    EXPECT_LT(std::sqrt(squares / double(x.size())), 1.15 * 2 / levels / std::sqrt(12.0)) << f.name;
  }
}

TEST_P(EveryWriter, EncodingIsDefinedForAnyInput) {
  const NumericFormat& f = info(GetParam());
  std::vector<float> x(256), back(256);
  std::vector<uint8_t> bytes(f.row_bytes(x.size()));
  const float odd[] = {0.0f, -0.0f, 1e-45f, 1e-38f, 65504.0f, 1e30f, -3e38f, INFINITY, -INFINITY, NAN};
  RandomStream random(11, Purpose::test);
  for (int round = 0; round < 300; ++round) {
    for (float& v : x) v = random.below(4) ? random.normal() : odd[random.below(uint32_t(std::size(odd)))];
    f.encode(x.data(), x.size(), nullptr, bytes.data());
    f.decode(bytes.data(), x.size(), back.data());
  }
  for (float v : {0.0f, 1e-45f, -1e-30f}) {
    std::fill(x.begin(), x.end(), v);
    f.encode(x.data(), x.size(), nullptr, bytes.data());
    f.decode(bytes.data(), x.size(), back.data());
    for (float b : back) ASSERT_LE(std::fabs(b), 1e-7f) << f.name << " " << v;
  }
}

class Encoder : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Rows, Encoder,
                         testing::Values("q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "f16", "bf16", "tq1_0", "tq2_0",
                                         "mxfp4", "qoq32", "qoq64", "qoq128", "i4a32", "i4a64", "i4a128", "atom32",
                                         "atom64", "atom128"),
                         [](const auto& row) { return std::string(row.param); });

TEST_P(Encoder, WritesTheGoldenBytes) {
  const NumericFormat& f = info(*parse_format(GetParam()));
  const std::vector<float> x = golden_floats("input");
  const std::vector<uint8_t> want = golden(std::string(f.name) + ".encoded");
  const uint64_t k = f.head_bytes ? 2 * f.block_elems : std::max(f.block_elems, 64u);
  ASSERT_EQ(x.size() / k * f.row_bytes(k), want.size());
  std::vector<uint8_t> got(want.size());
  f.encode_rows(x.data(), x.size() / k, k, nullptr, got.data());
  for (size_t i = 0; i < got.size(); ++i) ASSERT_EQ(got[i], want[i]) << f.name << " byte " << i;
}

TEST(Table, FindsByNameAndByType) {
  ASSERT_EQ(all_formats().size(), 61u);
  for (const NumericFormat& f : all_formats()) {
    EXPECT_EQ(&info(f.format), &f);
    EXPECT_EQ(*parse_format(f.name), f.format);
    EXPECT_EQ(format_of_gguf_type(f.gguf_type), f.in_gguf() ? &f : nullptr);
    EXPECT_EQ(gguf_type_name(f.gguf_type), f.in_gguf() ? f.name : "?");
  }
  EXPECT_EQ(info(Format::q4_k).bits_per_weight(), 4.5);
  EXPECT_EQ(format_of_gguf_type(4), nullptr);
  EXPECT_EQ(gguf_type_name(4), "q4_2");
  EXPECT_EQ(gguf_type_name(42), "q2_0");
  EXPECT_EQ(gguf_type_name(43), "?");
  EXPECT_EQ(gguf_type_name(0xffffffffu), "?");
  const Result<Format> bad = parse_format("q4_z");
  ASSERT_FALSE(bad.ok());
  EXPECT_THAT(bad.status().message(), testing::HasSubstr("\"q4_z\""));
  EXPECT_THAT(bad.status().message(), testing::HasSubstr("q6_k"));
}

}  // namespace
}  // namespace vibee
