// SPDX-License-Identifier: Apache-2.0
// Scales of whole matrices in GGUF.
#include "vibee/model/weight/gguf_scale.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "vibee/base/random/philox.h"
#include "vibee/kit/gguf_builder.h"
#include "vibee/model/weight/gguf.h"

namespace vibee {
namespace {

using testing::HasSubstr;

std::vector<uint8_t> of_floats(const std::vector<float>& v) {
  std::vector<uint8_t> out(4 * v.size());
  std::memcpy(out.data(), v.data(), out.size());
  return out;
}
std::vector<uint8_t> random_bytes(uint64_t rows, uint64_t k, uint64_t seed) {
  RandomStream random(seed, Purpose::test);
  std::vector<uint8_t> out(rows * info(Format::nvfp4).row_bytes(k));
  for (uint8_t& b : out) b = uint8_t(random.bits());
  return out;
}

TEST(GgufScale, IsBeforeEveryRowOfItsMatrix) {
  const std::vector<uint8_t> one = random_bytes(5, 128, 1), stack = random_bytes(3 * 4, 64, 2);
  GgufBuilder b;
  b.str("general.architecture", "llama");
  b.tensor("blk.0.attn_q.weight", Format::nvfp4, {128, 5}, one);
  b.tensor("blk.0.attn_q.scale", Format::f32, {1}, of_floats({0.37f}));
  b.tensor("blk.0.attn_norm.weight", Format::f32, {4}, of_floats({1, 2, 3, 4}));
  b.tensor("blk.0.ffn_up_exps.weight", Format::nvfp4, {64, 4, 3}, stack);
  b.tensor("blk.0.ffn_up_exps.scale", Format::f32, {3}, of_floats({0.5f, -2, 0.1f}));
  const auto file = parse_gguf(b.build(), "m.gguf");
  ASSERT_TRUE(file.ok()) << file.status().message();
  const auto numbers = [&](std::string_view name) {
    const TensorInfo& t = *file->find(name);
    std::vector<uint8_t> raw(t.bytes);
    EXPECT_TRUE(file->read(t, 0, raw).ok());
    // In pieces, wherever they begin, it is the same.
    std::vector<uint8_t> pieces(t.bytes);
    for (uint64_t at = 0; at < t.bytes; at += 7)
      EXPECT_TRUE(file->read(t, at, std::span(pieces).subspan(at, std::min<uint64_t>(7, t.bytes - at))).ok());
    EXPECT_EQ(pieces, raw);
    std::vector<float> out(t.elements());
    info(t.format).decode_rows(raw.data(), t.rows(), t.row_length(), out.data());
    return out;
  };
  EXPECT_EQ(file->find("blk.0.attn_q.weight")->format, Format::nvfp4s);
  const auto want = [](const std::vector<uint8_t>& raw, uint64_t rows, uint64_t k, auto scale) {
    std::vector<float> out(rows * k);
    info(Format::nvfp4).decode_rows(raw.data(), rows, k, out.data());
    for (uint64_t i = 0; i < out.size(); ++i) out[i] = scale(i / k) * out[i];
    return out;
  };
  EXPECT_EQ(numbers("blk.0.attn_q.weight"), want(one, 5, 128, [](uint64_t) { return 0.37f; }));
  const float scales[] = {0.5f, -2, 0.1f};
  EXPECT_EQ(numbers("blk.0.ffn_up_exps.weight"), want(stack, 12, 64, [&](uint64_t row) { return scales[row / 4]; }));
  EXPECT_EQ(numbers("blk.0.attn_norm.weight"), (std::vector<float>{1, 2, 3, 4}));
}

TEST(GgufScale, IsNotLeftOut) {
  const auto message = [](Format format, float scale) {
    GgufBuilder b;
    b.tensor("a.weight", format, {64, 2}).tensor("a.scale", Format::f32, {1}, of_floats({scale}));
    const auto file = parse_gguf(b.build(), "m.gguf");
    return file.ok() ? std::string() : file.status().message();
  };
  EXPECT_THAT(message(Format::q8_0, 2), HasSubstr("\"a.scale\" scales \"a.weight\", which is in q8_0"));
  EXPECT_THAT(message(Format::nvfp4, NAN), HasSubstr("a scale is a finite number"));
  EXPECT_EQ(message(Format::q8_0, 1), "");
  EXPECT_EQ(message(Format::f32, 2), "") << "of another meaning";
}

}  // namespace
}  // namespace vibee
