// SPDX-License-Identifier: Apache-2.0
// The book of measurements: what is added is read again, by others too; damage costs the damaged lines alone.
#include "vibee/hw/cost/records.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace vibee {
namespace {

class RecordsTest : public testing::Test {
 protected:
  void SetUp() override { std::filesystem::remove(path_); }
  void TearDown() override { std::filesystem::remove(path_); }
  Records open(const char* device = "cpu") {
    auto records = Records::open(path_, device);
    EXPECT_TRUE(records.ok()) << records.status().message();
    return std::move(*records);
  }
  std::string text() const {
    std::ifstream in(path_);
    std::stringstream all;
    all << in.rdbuf();
    return all.str();
  }
  std::string path_ = testing::TempDir() + "records_test.tsv";
};

TEST_F(RecordsTest, ReadsWhatWasAddedLast) {
  Records first = open();
  EXPECT_EQ(first.seconds("gemm 1", "ours"), std::nullopt);
  ASSERT_TRUE(first.add("gemm 1", "ours", 2e-3).ok());
  ASSERT_TRUE(open().add("gemm 1", "theirs", 1.0 / 3).ok());
  ASSERT_TRUE(first.add("gemm 1", "ours", 1e-3).ok());
  EXPECT_EQ(first.seconds("gemm 1", "ours"), 1e-3);
  EXPECT_EQ(first.seconds("gemm 1", "theirs"), std::nullopt);  // it was opened before
  const Records again = open();
  EXPECT_EQ(again.seconds("gemm 1", "ours"), 1e-3);
  EXPECT_EQ(again.seconds("gemm 1", "theirs"), 1.0 / 3);
  EXPECT_EQ(again.damaged(), 0u);
  EXPECT_EQ(open("another cpu").seconds("gemm 1", "ours"), std::nullopt);
}

TEST_F(RecordsTest, DamageCostsTheDamagedLines) {
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(open().add(fmt::format("p{}", i), "ours", i + 1).ok());
  const std::string whole = text();
  for (size_t at = 0; at < whole.size(); ++at) {
    std::string bad = whole;
    bad[at] = char(bad[at] ^ 4);
    const Records found = Records::parse(bad, "cpu");
    int left = 0;
    for (int i = 0; i < 3; ++i) {
      const std::optional<double> seconds = found.seconds(fmt::format("p{}", i), "ours");
      EXPECT_EQ(seconds.value_or(i + 1), i + 1);
      left += seconds ? 1 : 0;
    }
    EXPECT_GE(left, 1);
    EXPECT_LT(left, 3) << at;
    EXPECT_GE(found.damaged(), 1u);
  }
}

TEST_F(RecordsTest, ALineThatWasNotEndedSpoilsItselfAlone) {
  ASSERT_TRUE(open().add("p0", "ours", 1).ok());
  ASSERT_TRUE(open().add("p1", "ours", 2).ok());
  std::filesystem::resize_file(path_, std::filesystem::file_size(path_) - 5);
  ASSERT_TRUE(open().add("p2", "ours", 3).ok());
  const Records found = open();
  EXPECT_EQ(found.seconds("p0", "ours"), 1);
  EXPECT_EQ(found.seconds("p1", "ours"), std::nullopt);
  EXPECT_EQ(found.seconds("p2", "ours"), 3);
  EXPECT_EQ(found.damaged(), 1u);
}

TEST_F(RecordsTest, NamesMayHoldAnything) {
  ASSERT_TRUE(open("a\tb\nc").add("p\t1\n", "o\nurs", 1).ok());
  EXPECT_EQ(open("a\tb\nc").seconds("p\t1\n", "o\nurs"), 1);
}

TEST_F(RecordsTest, WhatCannotBeKeptIsKnownAllTheSame) {
  auto records = Records::open(testing::TempDir() + "no such folder/records.tsv", "cpu");
  ASSERT_TRUE(records.ok());
  const Status kept = records->add("p", "ours", 1);
  EXPECT_EQ(kept.code(), Code::io);
  EXPECT_NE(kept.message().find("no such folder"), std::string::npos);
  EXPECT_EQ(records->seconds("p", "ours"), 1);
}

}  // namespace
}  // namespace vibee
