// SPDX-License-Identifier: Apache-2.0
// GGUF to a directory and back: the same tensors bit for bit, and every metadata value; and directories of every
// model_type to a directory again. (That `transformers` computes the goldens' logits from what is written is checked by
// hand.)
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>

#include "vibee/kit/golden_directories.h"
#include "vibee/model/arch/arch.h"
#include "vibee/model/weight/gguf.h"

namespace vibee {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

const std::string kGoldens = std::string(VIBEE_SOURCE_DIR) + "/data/golden/";

class HfWrite : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    dir_ = testing::TempDir() + "hf_write";
    fs::remove_all(dir_);
    fs::create_directories(dir_);
  }
  void TearDown() override { fs::remove_all(dir_); }
  static TensorBytes bytes_of(const Checkpoint& file) {
    return [&file](const TensorInfo& t, uint64_t offset, std::span<uint8_t> out) { return file.read(t, offset, out); };
  }
  static Status write(const std::string& path, const Checkpoint& file, uint64_t shard = 5'000'000'000) {
    return write_hf(path, hf_architectures(), file, file.tensors(), bytes_of(file), {}, nullptr, shard);
  }
  /// Largest difference of a vector's elements; matrices must be equal.
  static float difference(const Checkpoint& a, const Checkpoint& b) {
    EXPECT_EQ(a.tensors().size(), b.tensors().size());
    float worst = 0;
    for (const TensorInfo& x : a.tensors()) {
      const TensorInfo* y = b.find(x.name);
      if (y == nullptr || x.shape != y->shape || x.format != y->format) {
        ADD_FAILURE() << x.name;
        continue;
      }
      std::vector<uint8_t> p(x.bytes), q(x.bytes);
      EXPECT_TRUE(a.read(x, 0, p).ok());
      EXPECT_TRUE(b.read(*y, 0, q).ok());
      if (p == q) continue;
      EXPECT_EQ(x.shape.size(), 1u) << x.name;
      for (size_t i = 0; i < p.size(); i += 4) {
        float u, v;
        std::memcpy(&u, &p[i], 4);
        std::memcpy(&v, &q[i], 4);
        worst = std::max(worst, std::abs(u - v));
      }
    }
    return worst;
  }
  std::string dir_;
};

class GgufToHf : public HfWrite {};

TEST_P(GgufToHf, AndBackIsTheSame) {
  auto file = open_checkpoint(kGoldens + "model/" + GetParam() + ".gguf");
  ASSERT_TRUE(file.ok());
  for (const uint64_t shard : {uint64_t(5'000'000'000), uint64_t(30'000)}) {
    const std::string path = fmt::format("{}/{}", dir_, shard);
    const Status status = write(path, *file, shard);
    ASSERT_TRUE(status.ok()) << status.message();
    EXPECT_EQ(fs::exists(path + "/model.safetensors.index.json"), shard == 30'000);
    auto back = open_checkpoint(path);
    ASSERT_TRUE(back.ok()) << back.status().message();
    EXPECT_TRUE(read_config(*back).ok());
    EXPECT_EQ(difference(*file, *back), 0);
    for (const auto& [key, value] : file->metadata()) {
      const auto other = back->metadata().find(key);
      ASSERT_NE(other, back->metadata().end()) << key;
      EXPECT_EQ(other->second.type, value.type) << key;
      EXPECT_EQ(other->second.bytes, value.bytes) << key;
    }
  }
  EXPECT_THAT(write(dir_ + "/30000", *file).message(), HasSubstr("is there already"));
}

INSTANTIATE_TEST_SUITE_P(All, GgufToHf,
                         testing::Values("llama-a", "llama-b", "llama-c", "gemma3-a", "gemma3-b", "gemma3-c"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

class HfToHf : public HfWrite {};

TEST_P(HfToHf, KeepsTensorsAndConfiguration) {
  auto file = open_checkpoint(kGoldens + "hf/" + GetParam());
  ASSERT_TRUE(file.ok());
  const Status status = write(dir_ + "/a", *file);
  ASSERT_TRUE(status.ok()) << status.message();
  auto back = open_checkpoint(dir_ + "/a");
  ASSERT_TRUE(back.ok()) << back.status().message();
  EXPECT_EQ(difference(*file, *back), 0);  // Gemma's sums are the same sums again
  for (const auto& [key, value] : file->metadata())
    if (key != "general.name") {
      EXPECT_EQ(back->describe(key), file->describe(key)) << key;
    }
}

INSTANTIATE_TEST_SUITE_P(All, HfToHf,
                         testing::ValuesIn(golden_directories("llama3")));  // its positions are not Llama 3's

class HfRefused : public HfWrite {};

TEST_F(HfRefused, WhatConfigCannotSay) {
  auto file = open_checkpoint(kGoldens + "hf/llama3");  // 32 positions, not Llama 3's 8192
  ASSERT_TRUE(file.ok());
  EXPECT_THAT(write(dir_ + "/a", *file).message(), HasSubstr("\"rope_freqs.weight\" is not that of Llama 3"));
  EXPECT_TRUE(fs::is_empty(dir_));
}

TEST_F(HfRefused, NothingIsLeftOfAWriteThatStops) {
  auto file = open_checkpoint(kGoldens + "model/llama-b.gguf");
  ASSERT_TRUE(file.ok());
  const Status status = write_hf(dir_ + "/a", hf_architectures(), *file, file->tensors(), bytes_of(*file), {},
                                 [](uint64_t done, uint64_t) { return done < 50'000; });
  EXPECT_EQ(status.code(), Code::cancelled);
  EXPECT_TRUE(fs::is_empty(dir_));
}

}  // namespace
}  // namespace vibee
