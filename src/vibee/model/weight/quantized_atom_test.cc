// SPDX-License-Identifier: Apache-2.0
// Linears of Atom as `vibee quantize --scheme atom` writes them: codes, scales and orders come back, and what is
// refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "vibee/base/math/half.h"
#include "vibee/base/random/philox.h"
#include "vibee/kit/safetensors_builder.h"
#include "vibee/model/weight/quantized.h"

namespace vibee {
namespace {

using testing::HasSubstr;

constexpr uint32_t kRows = 3, kInputs = 128, kGroup = 32, kGroups = kInputs / kGroup;

/// Random codes in the directory's tensors, and what they mean, written down apart.
struct Linear {
  std::vector<SafetensorsPart> parts = {{"a.qweight", "U8", {kRows, kInputs / 2}, {}},
                                        {"a.qweight_kept", "U8", {kRows, kGroup / 2}, {}},
                                        {"a.scales", "F16", {kRows, kGroups}, {}},
                                        {"a.order", "I32", {kInputs}, {}}};
  std::vector<float> values, order;

  Linear() {
    RandomStream random(9, Purpose::test);
    for (auto& part : parts) part.bytes.resize(part.shape[0] * (part.shape.size() > 1 ? part.shape[1] : 4));
    parts[2].bytes.resize(2 * kRows * kGroups);
    for (uint32_t r = 0; r < kRows; ++r)
      for (uint32_t i = 0; i < kInputs; ++i) {
        const bool kept = i >= kInputs - kGroup;
        const uint32_t code = random.below(kept ? 256 : 16);
        const auto put = [&](std::vector<uint8_t>& to, uint32_t at, uint32_t nibble) {
          uint8_t& byte = to[at / 32 * 16 + at % 16];
          byte = uint8_t(byte | nibble << (at % 32 < 16 ? 0 : 4));
        };
        put(parts[0].bytes, r * kInputs + i, code & 15);
        if (kept) put(parts[1].bytes, r * kGroup + i % kGroup, code >> 4);
        const uint16_t half = float_to_half(0.01f * float(1 + r * kGroups + i / kGroup));
        std::memcpy(parts[2].bytes.data() + 2 * (r * kGroups + i / kGroup), &half, 2);
        values.push_back(half_to_float(half) * float(int(code) - (kept ? 128 : 8)));
      }
    for (uint32_t i = 0; i < kInputs; ++i) {
      const uint32_t input = (i * 37 + 5) % kInputs;
      std::memcpy(parts[3].bytes.data() + 4 * i, &input, 4);
      order.push_back(float(input));
    }
  }
};

Result<SafetensorsSet> open(const std::vector<SafetensorsPart>& parts) {
  VIBEE_ASSIGN(const JsonValue config, parse_json(R"({"quant_method": "atom"})"));
  VIBEE_ASSIGN(const auto layout, quantized_layout(config));
  VIBEE_ASSIGN(Safetensors file, parse_safetensors(build_safetensors(parts), "test"));
  VIBEE_ASSIGN(SafetensorsSet set, SafetensorsSet::of(std::move(file)));
  return unpack_quantized(std::move(set), *layout);
}
std::string refusal(const std::vector<SafetensorsPart>& parts) {
  const auto set = open(parts);
  if (!set.ok()) return set.status().message();
  const auto& [file, tensor] = set->tensors().at("a.weight");
  std::vector<uint8_t> raw(tensor->bytes);
  return file->read(*tensor, 0, raw).message();
}

TEST(AtomLayout, HasTheValuesAndTheOrderOfTheFile) {
  const Linear linear;
  const auto set = open(linear.parts);
  ASSERT_TRUE(set.ok()) << set.status().message();
  ASSERT_EQ(set->tensors().size(), 2u);
  for (const auto& [name, wanted] : {std::pair{"a.weight", &linear.values}, {"a.perm", &linear.order}}) {
    const auto& [file, tensor] = set->tensors().at(name);
    std::vector<uint8_t> raw(tensor->bytes);
    ASSERT_TRUE(file->read(*tensor, 0, raw).ok());
    std::vector<float> got(wanted->size());
    const uint64_t rows = tensor->shape.size() > 1 ? kRows : 1;
    info(*tensor->format).decode_rows(raw.data(), rows, kInputs, got.data());
    EXPECT_EQ(got, *wanted) << name;
  }
  EXPECT_EQ(set->tensors().at("a.weight").tensor->format, Format::atom32);
}

TEST(AtomLayout, MistakesAreNamed) {
  const auto with = [](size_t part, auto&& change) {
    Linear linear;
    change(linear.parts[part]);
    return refusal(linear.parts);
  };
  const auto erased = [](size_t part) {
    Linear linear;
    linear.parts.erase(linear.parts.begin() + long(part));
    return refusal(linear.parts);
  };
  EXPECT_THAT(erased(0), HasSubstr("tensor \"a.qweight\" is missing"));
  EXPECT_THAT(erased(3), HasSubstr("tensor \"a.order\" is missing"));
  EXPECT_THAT(with(0,
                   [](auto& p) {
                     p.shape = {kInputs / 2, kRows};
                   }),
              HasSubstr("tensor \"a.qweight\" is not [3, 64]"));
  EXPECT_THAT(with(1,
                   [](auto& p) {
                     p.shape[1] = 24;
                     p.bytes.resize(kRows * 24);
                   }),
              HasSubstr("tensor \"a.qweight_kept\" has groups of 48; 32, 64 and 128 are read"));
  EXPECT_THAT(with(2, [](auto& p) { p.shape = {kRows * kGroups, 1}; }), HasSubstr("tensor \"a.scales\" is not [3, 4]"));
  EXPECT_THAT(with(2, [](auto& p) { p.bytes[1] = 0x7c; }), HasSubstr("tensor \"a.scales\" has nan at element 0"));
  EXPECT_THAT(with(3, [](auto& p) { p.bytes[3] = 1; }), HasSubstr("tensor \"a.order\" has input 16777221 of 128"));
  EXPECT_THAT(with(3, [](auto& p) { p.bytes[4] = p.bytes[0]; }), HasSubstr("tensor \"a.order\" has input 5 twice"));
  EXPECT_THAT(with(3,
                   [](auto& p) {
                     p.shape[0] = 32;
                     p.bytes.resize(128);
                   }),
              HasSubstr("tensor \"a.order\" has 32 inputs in groups of 32"));
}

}  // namespace
}  // namespace vibee
