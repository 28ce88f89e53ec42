// SPDX-License-Identifier: Apache-2.0
// Directories of Any-Precision LLM: planes as numpy packs them (tools/make_any_precision_goldens.py) read at every
// width, which looks at no plane behind it, and what is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <iterator>

#include "vibee/base/math/half.h"
#include "vibee/formats/packed/little_endian.h"
#include "vibee/kit/safetensors_builder.h"
#include "vibee/model/weight/quantized.h"

namespace vibee {
namespace {

using testing::HasSubstr;

/// A linear of codes and their planes, with tables in which code c of width b is b + c / 256.
struct Golden {
  uint32_t n = 0, k = 0;
  std::vector<uint8_t> codes, planes;
  static float value(uint32_t bits, uint32_t code) { return float(bits) + float(code) / 256; }
  std::vector<SafetensorsPart> tensors() const {
    std::vector<SafetensorsPart> out = {{"a.qweight", "I32", {8, n, k / 32}, planes}};
    for (uint32_t bits = 3; bits <= 8; ++bits) {
      std::vector<uint8_t> table(n << (bits + 1));
      for (uint32_t i = 0; i < n << bits; ++i) {
        const uint16_t half = float_to_half(value(bits, i % (1u << bits)));
        std::memcpy(table.data() + 2 * i, &half, 2);
      }
      out.push_back({fmt::format("a.lut{}", bits), "F16", {n, uint64_t(1) << bits}, table});
    }
    return out;
  }
};
std::vector<Golden> goldens() {
  std::ifstream in(std::string(VIBEE_SOURCE_DIR) + "/data/golden/any_precision/planes.bin", std::ios::binary);
  EXPECT_TRUE(in);
  const std::vector<uint8_t> raw{std::istreambuf_iterator<char>(in), {}};
  std::vector<Golden> out;
  for (size_t at = 0; at < raw.size();) {
    Golden g{load_u32(raw.data() + at), load_u32(raw.data() + at + 4), {}, {}};
    const auto begin = raw.begin() + std::ptrdiff_t(at) + 8;
    g.codes.assign(begin, begin + g.n * g.k);
    g.planes.assign(begin + g.n * g.k, begin + 2 * g.n * g.k);
    at += 8 + 2 * g.n * g.k;
    out.push_back(std::move(g));
  }
  EXPECT_EQ(out.size(), 4u);
  return out;
}

Result<SafetensorsSet> open(const std::vector<SafetensorsPart>& tensors, const std::string& config, uint32_t bits) {
  VIBEE_ASSIGN(const JsonValue json, parse_json(config));
  VIBEE_ASSIGN(const auto layout, any_precision_layout(json, bits));
  VIBEE_ASSIGN(Safetensors file, parse_safetensors(build_safetensors(tensors), "test"));
  VIBEE_ASSIGN(SafetensorsSet set, SafetensorsSet::of(std::move(file)));
  return unpack_quantized(std::move(set), *layout);
}
const std::string kConfig = R"({"seed_precision": 3, "parent_precision": 8})";

std::vector<float> values(const SafetensorsSet& set) {
  const auto& [file, tensor] = set.tensors().at("a.weight");
  std::vector<uint8_t> raw(tensor->bytes);
  EXPECT_TRUE(file->read(*tensor, 0, raw).ok());
  std::vector<float> out(tensor->shape[0] * tensor->shape[1]);
  info(*tensor->format).decode_rows(raw.data(), tensor->shape[0], tensor->shape[1], out.data());
  return out;
}

TEST(AnyPrecisionLayout, EveryWidthIsTheTopOfTheCodesAndLooksAtNoPlaneBehind) {
  for (const Golden& g : goldens())
    for (uint32_t bits = 3; bits <= 8; ++bits) {
      std::vector<SafetensorsPart> tensors = g.tensors();
      const size_t behind = tensors[0].bytes.size() / 8 * bits;
      std::fill(tensors[0].bytes.begin() + std::ptrdiff_t(behind), tensors[0].bytes.end(), 0xa5);
      const auto set = open(tensors, kConfig, bits);
      ASSERT_TRUE(set.ok()) << set.status().message();
      const std::vector<float> got = values(*set);
      for (uint32_t i = 0; i < g.n * g.k; ++i)
        ASSERT_EQ(got[i], half_to_float(float_to_half(Golden::value(bits, g.codes[i] >> (8 - bits)))))
            << g.k << " " << bits << " " << i;
      EXPECT_EQ(set->tensors().size(), 1u);
    }
}

TEST(AnyPrecisionLayout, AffineCodesAreMiddlesOfTheirCells) {
  for (const Golden& g : goldens()) {
    if (g.k % 64 != 0) continue;
    std::vector<uint8_t> scale, low;
    for (uint32_t i = 0; i < g.n * g.k / 64; ++i) {
      const float s = 0.25f + 0.5f * float(i % 3), l = -3.0f + float(i);
      scale.insert(scale.end(), reinterpret_cast<const uint8_t*>(&s), reinterpret_cast<const uint8_t*>(&s) + 4);
      low.insert(low.end(), reinterpret_cast<const uint8_t*>(&l), reinterpret_cast<const uint8_t*>(&l) + 4);
    }
    const std::vector<SafetensorsPart> tensors = {{"a.qweight", "I32", {8, g.n, g.k / 32}, g.planes},
                                                  {"a.scale", "F32", {g.n, g.k / 64}, scale},
                                                  {"a.low", "F32", {g.n, g.k / 64}, low}};
    for (uint32_t bits = 3; bits <= 8; ++bits) {
      const auto set = open(tensors, R"({"seed_precision": 3, "parent_precision": 8, "table": "affine"})", bits);
      ASSERT_TRUE(set.ok()) << set.status().message();
      const std::vector<float> got = values(*set);
      for (uint32_t i = 0; i < g.n * g.k; ++i) {
        const uint32_t group = i / 64;
        const float cell = (0.25f + 0.5f * float(group % 3)) * float(1u << (8 - bits));
        ASSERT_EQ(got[i], cell * (float(g.codes[i] >> (8 - bits)) + 0.5f) - 3.0f + float(group)) << bits << " " << i;
      }
    }
  }
}

TEST(AnyPrecisionLayout, WhatDoesNotFitIsSaidInALine) {
  const std::vector<SafetensorsPart> good = goldens()[1].tensors();
  const auto message = [&](const std::vector<SafetensorsPart>& tensors, const std::string& config, uint32_t bits) {
    const auto set = open(tensors, config, bits);
    EXPECT_FALSE(set.ok());
    return set.ok() ? std::string() : std::string(set.status().message());
  };
  EXPECT_EQ(message(good, R"({"seed_precision": 3, "parent_precision": 6})", 7),
            "--bits 7: this model stores 3 to 6 bits");
  EXPECT_THAT(message(good, R"({"seed_precision": 3, "parent_precision": 6})", 0), HasSubstr("has 8 planes of 6 bits"));
  EXPECT_THAT(message(good, R"({"seed_precision": 2, "parent_precision": 8})", 0), HasSubstr("3 to 8 bits are read"));
  EXPECT_THAT(message(good, R"({"parent_precision": 8})", 0), HasSubstr("seed_precision is missing"));
  EXPECT_THAT(message(good, R"({"seed_precision": 5, "parent_precision": 4})", 0), HasSubstr("is above"));
  EXPECT_THAT(message(good, R"({"seed_precision": 3, "parent_precision": 8, "table": "x"})", 0),
              HasSubstr("lut and affine are read"));
  std::vector<SafetensorsPart> bad = good;
  bad[2].shape = {2, 8}, bad[2].bytes.resize(32);
  EXPECT_THAT(message(bad, kConfig, 4), HasSubstr("\"a.lut4\" is not [2, 16]"));
  bad = good;
  bad.erase(bad.begin() + 2);
  EXPECT_THAT(message(bad, kConfig, 4), HasSubstr("\"a.lut4\" is missing"));
  EXPECT_THAT(message(good, R"({"seed_precision": 3, "parent_precision": 8, "table": "affine"})", 0),
              HasSubstr("a multiple of 64 is read"));
}

}  // namespace
}  // namespace vibee
