// SPDX-License-Identifier: Apache-2.0
// What is written is read back the same, whole or in parts, and appears only when it is complete.
#include "vibee/model/weight/gguf_write.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "vibee/model/weight/gguf.h"

namespace vibee {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

const std::string kGolden = std::string(VIBEE_SOURCE_DIR) + "/data/golden/model/llama-b.gguf";

class GgufWrite : public testing::Test {
 protected:
  void SetUp() override {
    dir_ = testing::TempDir() + "gguf_write";
    fs::remove_all(dir_);
    fs::create_directories(dir_);
  }
  void TearDown() override { fs::remove_all(dir_); }
  static TensorBytes bytes_of(const Checkpoint& file) {
    return [&file](const TensorInfo& t, uint64_t offset, std::span<uint8_t> out) {
      return file.read(*file.find(t.name), offset, out);
    };
  }
  static void expect_same(const Checkpoint& a, const Checkpoint& b) {
    ASSERT_EQ(a.metadata().size(), b.metadata().size());
    for (const auto& [key, value] : a.metadata()) {
      const auto other = b.metadata().find(key);
      ASSERT_NE(other, b.metadata().end()) << key;
      EXPECT_EQ(value.type, other->second.type) << key;
      EXPECT_EQ(value.bytes, other->second.bytes) << key;
    }
    ASSERT_EQ(a.tensors().size(), b.tensors().size());
    for (size_t i = 0; i < a.tensors().size(); ++i) {
      const TensorInfo &x = a.tensors()[i], &y = b.tensors()[i];
      ASSERT_EQ(x.name, y.name);
      ASSERT_EQ(x.shape, y.shape);
      ASSERT_EQ(x.format, y.format);
      std::vector<uint8_t> p(x.bytes), q(y.bytes);
      ASSERT_TRUE(a.read(x, 0, p).ok());
      ASSERT_TRUE(b.read(y, 0, q).ok());
      EXPECT_EQ(p, q) << x.name;
    }
  }
  std::vector<std::string> left() const {
    std::vector<std::string> names;
    for (const auto& e : fs::directory_iterator(dir_)) names.push_back(e.path().filename().string());
    return names;
  }
  std::string dir_;
};

TEST_F(GgufWrite, IsReadBackTheSame) {
  auto file = open_gguf(kGolden);
  ASSERT_TRUE(file.ok());
  uint64_t last = 0, total = 0;
  const Status status = write_gguf(dir_ + "/a.gguf", file->metadata(), file->tensors(), bytes_of(*file),
                                   {.progress = [&](uint64_t done, uint64_t all) {
                                     EXPECT_GT(done, last);
                                     last = done;
                                     total = all;
                                     return true;
                                   }});
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(last, total);
  auto back = open_gguf(dir_ + "/a.gguf");
  ASSERT_TRUE(back.ok()) << back.status().message();
  expect_same(*file, *back);
  EXPECT_EQ(left().size(), 1u);
}

TEST_F(GgufWrite, AlignmentIsKept) {
  auto file = open_gguf(kGolden);
  ASSERT_TRUE(file.ok());
  GgufMetadata metadata = file->metadata();
  metadata["general.alignment"] = gguf_u32(256);
  ASSERT_TRUE(write_gguf(dir_ + "/a.gguf", metadata, file->tensors(), bytes_of(*file)).ok());
  auto back = open_gguf(dir_ + "/a.gguf");
  ASSERT_TRUE(back.ok()) << back.status().message();
  for (const TensorInfo& t : back->tensors()) EXPECT_EQ(t.offset % 256, 0u) << t.name;
}

TEST_F(GgufWrite, NothingIsLeftOfAWriteThatStops) {
  auto file = open_gguf(kGolden);
  ASSERT_TRUE(file.ok());
  std::ofstream(dir_ + "/a.gguf") << "old";
  const Status status = write_gguf(dir_ + "/a.gguf", file->metadata(), file->tensors(), bytes_of(*file),
                                   {.progress = [](uint64_t done, uint64_t) { return done < 30000; }});
  EXPECT_EQ(status.code(), Code::cancelled);
  EXPECT_EQ(left(), std::vector<std::string>{"a.gguf"});
  EXPECT_EQ(fs::file_size(dir_ + "/a.gguf"), 3u);
  EXPECT_EQ(write_gguf(dir_ + "/no/a.gguf", {}, {}, bytes_of(*file)).code(), Code::io);
}

TEST_F(GgufWrite, PartsAreOneModel) {
  auto file = open_gguf(kGolden);
  ASSERT_TRUE(file.ok());
  const size_t n = file->tensors().size();
  const auto part = [&](uint32_t i, uint32_t number, uint32_t count) {
    GgufMetadata metadata = i == 0 ? file->metadata() : GgufMetadata();
    metadata["split.no"] = gguf_u32(number);
    metadata["split.count"] = gguf_u32(count);
    metadata["split.tensors.count"] = gguf_u32(uint32_t(n));
    const auto tensors = file->tensors().subspan(i * n / 3, (i + 1) * n / 3 - i * n / 3);
    const std::string path = fmt::format("{}/m-{:05}-of-00003.gguf", dir_, i + 1);
    ASSERT_TRUE(write_gguf(path, metadata, tensors, bytes_of(*file)).ok());
  };
  for (uint32_t i = 0; i < 3; ++i) part(i, i, 3);
  const std::string first = dir_ + "/m-00001-of-00003.gguf";
  const auto message = [](const std::string& path) {
    auto f = open_gguf(path);
    return f.ok() ? "no error" : f.status().message();
  };
  auto whole = open_gguf(first);
  ASSERT_TRUE(whole.ok()) << whole.status().message();
  expect_same(*file, *whole);
  EXPECT_THAT(message(dir_ + "/m-00002-of-00003.gguf"), HasSubstr("is part 2 of 3; name the first"));
  fs::rename(dir_ + "/m-00002-of-00003.gguf", dir_ + "/away.gguf");
  EXPECT_THAT(message(first), HasSubstr("part 2 of 3 is missing: fetch"));
  EXPECT_THAT(message(first), HasSubstr("m-00002-of-00003.gguf"));
  EXPECT_THAT(message(dir_ + "/away.gguf"), HasSubstr("whose name must end with \"-00002-of-00003.gguf\""));
  fs::copy(dir_ + "/m-00003-of-00003.gguf", dir_ + "/m-00002-of-00003.gguf");
  EXPECT_THAT(message(first), HasSubstr("says that it is part 3 of 3, its name says 2 of 3"));
  fs::remove(dir_ + "/m-00002-of-00003.gguf");
  part(1, 1, 2);
  EXPECT_THAT(message(first), HasSubstr("part 2 of 2, its name says 2 of 3"));
}

}  // namespace
}  // namespace vibee
