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
    auto recast = Recast::create(file, {.format = all_in(f.format)});
    ASSERT_TRUE(recast.ok()) << recast.status().message();
    uint64_t odd = 0;
    for (const TensorInfo& t : recast->tensors()) {
      const TensorInfo& from = *file.find(t.name);
      if (t.shape.size() == 1) {
        EXPECT_EQ(t.format, from.format);
        continue;
      }
      odd += t.row_length() % f.block_elems != 0;
      EXPECT_EQ(t.format, fitting(f.format, t.row_length())) << t.name;
      std::vector<uint8_t> raw(from.bytes), whole(t.bytes), wanted(t.bytes);
      std::vector<float> values(t.elements());
      ASSERT_TRUE(file.read(from, 0, raw).ok());
      info(from.format).decode(raw.data(), values.size(), values.data());
      info(t.format).encode_rows(values.data(), t.rows(), t.row_length(), nullptr, wanted.data());
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

TEST(Recast, ATeamAndImportanceChangeBytesOnlyAsTheyShould) {
  const Checkpoint file = golden("llama-b");
  Team team(3);
  std::vector<float> weights(96);
  for (size_t i = 0; i < weights.size(); ++i) weights[i] = float(i % 7);
  const auto importance = [&](const TensorInfo& t) { return std::span<const float>(weights).first(t.row_length()); };
  auto alone = Recast::create(file, {.format = all_in(Format::q4_0), .importance = importance});
  auto together = Recast::create(file, {.format = all_in(Format::q4_0), .importance = importance, .team = &team});
  auto plain = Recast::create(file, {.format = all_in(Format::q4_0), .team = &team});
  ASSERT_TRUE(alone.ok() && together.ok() && plain.ok());
  bool differ = false;
  for (const TensorInfo& t : alone->tensors()) {
    std::vector<uint8_t> a(t.bytes), b(t.bytes), c(t.bytes);
    ASSERT_TRUE(alone->read(t, 0, a).ok());
    ASSERT_TRUE(together->read(t, 0, b).ok());
    ASSERT_TRUE(plain->read(t, 0, c).ok());
    EXPECT_EQ(a, b) << t.name;
    differ |= a != c;
  }
  EXPECT_TRUE(differ);
}

TEST(Recast, NumbersThatAreNotFiniteAreNamed) {
  const Checkpoint file = golden("llama-b");
  const std::string name = "blk.0.attn_output.weight";  // rows of 96
  RecastEdit edit;
  edit.touches = [&](const std::string& tensor) { return tensor == name; };
  edit.apply = [](const std::string&, uint64_t first, std::span<float> rows) {
    if (first <= 3 && 3 < first + rows.size() / 96) rows[(3 - first) * 96 + 5] = NAN;
    return Status();
  };
  auto recast = Recast::create(file, {.format = all_in(Format::q8_0), .edit = edit});
  ASSERT_TRUE(recast.ok());
  for (const TensorInfo& t : recast->tensors()) {
    std::vector<uint8_t> out(t.bytes);
    const Status status = recast->read(t, 0, out);
    EXPECT_EQ(status.ok(), t.name != name) << t.name;
    if (status.ok()) continue;
    EXPECT_THAT(status.message(),
                testing::HasSubstr("tensor \"blk.0.attn_output.weight\" holds nan in row 3, column 5"));
  }
}

TEST(Recast, NoFormatKeepsEveryByte) {
  const Checkpoint file = golden("gemma3-c");
  auto recast = Recast::create(file, {});
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
    auto recast = Recast::create(file, {.format = all_in(formats)});
    auto other = recast_checkpoint(golden("llama-b"), all_in(formats));
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
  auto recast = Recast::create(file, {.format = all_in(*parse_formats("fp8"))});
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
