// SPDX-License-Identifier: Apache-2.0
#include "vibee/core/tier/scratch_file.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <vector>

namespace vibee {
namespace {

std::string folder() {
  std::string path = testing::TempDir() + "scratch_file_test";
  std::filesystem::create_directories(path);
  return path;
}

TEST(ScratchFile, KeepsBytesAndHasNoName) {
  auto file = ScratchFile::create(folder(), 100000);
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_TRUE(std::filesystem::is_empty(folder()));
  std::vector<uint8_t> bytes(100000, 1), written(777, 3);
  ASSERT_TRUE(file->read(0, bytes).ok());
  EXPECT_EQ(bytes, std::vector<uint8_t>(100000));
  ASSERT_TRUE(file->write(99223, written).ok());
  ScratchFile moved = std::move(*file);
  bytes.resize(777);
  ASSERT_TRUE(moved.read(99223, bytes).ok());
  EXPECT_EQ(bytes, written);
  ASSERT_TRUE(moved.read(99222, bytes).ok());
  EXPECT_EQ(bytes[0], 0);
}

TEST(ScratchFile, RefusesWhatDoesNotFit) {
  const auto huge = ScratchFile::create(folder(), uint64_t(1) << 55);
  ASSERT_FALSE(huge.ok());
  EXPECT_NE(huge.status().message().find("no room on the disk"), std::string::npos) << huge.status().message();
  EXPECT_TRUE(std::filesystem::is_empty(folder()));
  const auto nowhere = ScratchFile::create(folder() + "/none", 64);
  ASSERT_FALSE(nowhere.ok());
  EXPECT_EQ(nowhere.status().code(), Code::io);
}

}  // namespace
}  // namespace vibee
