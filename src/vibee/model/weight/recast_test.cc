// SPDX-License-Identifier: Apache-2.0
// A tensor in another format is what decoding and encoding its rows by hand gives, and what must stay float does.
#include "vibee/model/weight/recast.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "vibee/model/weight/gguf.h"

namespace vibee {
namespace {

Checkpoint golden(const std::string& name) {
  auto file = open_gguf(std::string(VIBEE_SOURCE_DIR) + "/data/golden/model/" + name + ".gguf");
  EXPECT_TRUE(file.ok()) << file.status().message();
  return std::move(*file);
}

TEST(Recast, EveryWritableFormatIsItsEncoderOnTheDecodedRows) {
  const Checkpoint file = golden("llama-b");  // f16, rows of 48, 60 and 96
  for (const NumericFormat& f : all_formats()) {
    auto recast = Recast::create(file, f.format);
    if (f.encode == nullptr) {
      EXPECT_EQ(recast.status().code(), Code::unsupported) << f.name;
      EXPECT_THAT(recast.status().message(), testing::HasSubstr("writable: f32, f16"));
      continue;
    }
    ASSERT_TRUE(recast.ok()) << recast.status().message();
    uint64_t odd = 0;
    for (const TensorInfo& t : recast->tensors()) {
      const TensorInfo& from = *file.find(t.name);
      if (t.shape.size() == 1) {
        EXPECT_EQ(t.format, from.format);
        continue;
      }
      odd += t.row_length() % f.block_elems != 0;
      EXPECT_EQ(t.format, t.row_length() % f.block_elems ? Format::f16 : f.format) << t.name;
      std::vector<uint8_t> raw(from.bytes), whole(t.bytes), wanted(t.bytes);
      std::vector<float> values(t.elements());
      ASSERT_TRUE(file.read(from, 0, raw).ok());
      info(from.format).decode(raw.data(), values.size(), values.data());
      info(t.format).encode(values.data(), values.size(), wanted.data());
      const uint64_t row = info(t.format).row_bytes(t.row_length());
      for (uint64_t at = 0; at < t.bytes; at += 5 * row) {  // slices of five rows
        const uint64_t n = std::min(5 * row, t.bytes - at);
        ASSERT_TRUE(recast->read(t, at, {whole.data() + at, n}).ok());
      }
      EXPECT_EQ(whole, wanted) << f.name << " " << t.name;
    }
    EXPECT_EQ(recast->indivisible(), odd) << f.name;
  }
}

TEST(Recast, NoFormatKeepsEveryByte) {
  const Checkpoint file = golden("gemma3-c");
  auto recast = Recast::create(file, std::nullopt);
  ASSERT_TRUE(recast.ok());
  for (const TensorInfo& t : recast->tensors()) {
    std::vector<uint8_t> a(t.bytes), b(t.bytes);
    ASSERT_TRUE(recast->read(t, 0, a).ok());
    ASSERT_TRUE(file.read(*file.find(t.name), 0, b).ok());
    EXPECT_EQ(a, b);
  }
  GgufMetadata metadata;
  set_file_type(&metadata, recast->tensors());
  EXPECT_EQ(metadata.at("general.file_type").bytes, gguf_u32(32).bytes);  // mostly bf16
}

TEST(Recast, ACheckpointInOtherFormatsReadsAsItsRecast) {
  const Checkpoint file = golden("llama-b");
  for (const char* family : {"int8", "fp8", "q4_0", "f32"}) {
    const std::vector<Format> formats = *parse_formats(family);
    auto recast = Recast::create(file, formats);
    auto other = recast_checkpoint(golden("llama-b"), formats);
    ASSERT_TRUE(recast.ok() && other.ok()) << other.status().message();
    EXPECT_EQ(other->path(), file.path());
    EXPECT_EQ(*other->get_string("general.architecture"), *file.get_string("general.architecture"));
    for (const TensorInfo& t : recast->tensors()) {
      const TensorInfo* mine = other->find(t.name);
      ASSERT_NE(mine, nullptr);
      ASSERT_EQ(mine->format, t.format);
      std::vector<uint8_t> whole(t.bytes);
      ASSERT_TRUE(recast->read(t, 0, whole).ok());
      for (const auto& [first, n] :
           {std::pair<uint64_t, uint64_t>{0, t.bytes}, {1, 1}, {t.bytes / 3, t.bytes / 2}, {t.bytes - 3, 3}}) {
        std::vector<uint8_t> some(n);
        ASSERT_TRUE(other->read(*mine, first, some).ok());
        EXPECT_EQ(0, std::memcmp(some.data(), whole.data() + first, n)) << family << " " << t.name << " " << first;
      }
    }
  }
}

TEST(Recast, AFamilyGivesEveryRowALengthThatDividesIt) {
  const Checkpoint file = golden("llama-b");  // rows of 48, 60 and 96
  auto recast = Recast::create(file, *parse_formats("fp8"));
  ASSERT_TRUE(recast.ok());
  uint64_t groups = 0, halves = 0;
  for (const TensorInfo& t : recast->tensors()) {
    if (t.shape.size() == 1) continue;
    EXPECT_EQ(t.format, t.row_length() % 32 == 0 ? Format::e4m3s32 : Format::f16) << t.name;
    ++(t.format == Format::f16 ? halves : groups);
  }
  EXPECT_GT(groups, 0u);
  EXPECT_EQ(recast->indivisible(), halves);
  EXPECT_EQ(parse_formats("fp9").status().code(), Code::invalid);
}

}  // namespace
}  // namespace vibee
