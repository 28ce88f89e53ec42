// SPDX-License-Identifier: Apache-2.0
// Pages on disk: what was written comes back, what was broken does not, and the folder keeps its limit.
#include "vibee/serve/kvcache/page_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include <filesystem>
#include <fstream>

#include "vibee/base/random/philox.h"
#include "vibee/kit/temp_folder.h"

namespace vibee {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr uint64_t kPage = 5000;  // two blocks a record
const PageLogShape kShape{{1, 2, 3}, kPage};

PageKey key(uint32_t i) {
  PageKey k{};
  std::memcpy(k.name.data(), &i, 4);
  k.tokens.fill(int32_t(i));
  return k;
}
std::vector<uint8_t> page(uint32_t i) {
  RandomStream random(i, Purpose::test);
  std::vector<uint8_t> out(kPage);
  for (uint8_t& b : out) b = uint8_t(random.below(256));
  return out;
}

class PageLogTest : public testing::Test {
 protected:
  void open(uint64_t limit = 1 << 20, const PageLogShape& shape = kShape) {
    log_.reset();  // frees the folder
    auto log = PageLog::open(folder_.path(), limit, shape, "a model");
    ASSERT_TRUE(log.ok()) << log.status().message();
    log_ = std::move(*log);
  }
  void append(uint32_t from, uint32_t to) {
    for (uint32_t i = from; i < to; ++i) {
      const Status s = log_->append(key(i), page(i));
      ASSERT_TRUE(s.ok()) << s.message();
    }
  }
  /// Pages of 0 .. n that come back; a page that comes back is the one that was written.
  uint32_t found(uint32_t n) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < n; ++i) {
      std::vector<uint8_t> got(kPage);
      if (!log_->read(key(i), got)) continue;
      EXPECT_EQ(got, page(i)) << i;
      ++count;
    }
    return count;
  }
  std::vector<std::string> segments() const {
    std::vector<std::string> out;
    for (const auto& entry : fs::directory_iterator(folder_.path()))
      if (entry.path().extension() == ".kv") out.push_back(entry.path().string());
    std::sort(out.begin(), out.end());
    return out;
  }
  uint64_t bytes_there() const {
    uint64_t sum = 0;
    for (const std::string& s : segments()) sum += fs::file_size(s);
    return sum;
  }
  TempFolder folder_;
  std::unique_ptr<PageLog> log_;
};

TEST_F(PageLogTest, GivesBackWhatWasWrittenAlsoAfterARestart) {
  open();
  append(0, 10);
  EXPECT_EQ(found(12), 10u);
  open();
  EXPECT_EQ(log_->stats().records, 10u);
  append(5, 15);  // five of them again
  open();
  EXPECT_EQ(log_->stats().records, 15u);
  EXPECT_EQ(found(15), 15u);
  EXPECT_EQ(segments().size(), 1u);
  EXPECT_EQ(log_->stats().bytes, bytes_there());
}

TEST_F(PageLogTest, ANameAloneIsNotEnough) {
  open();
  append(0, 1);
  PageKey other = key(0);
  other.tokens[7] ^= 1;
  std::vector<uint8_t> got(kPage);
  EXPECT_FALSE(log_->read(other, got));
}

TEST_F(PageLogTest, KeepsItsLimitByDroppingWhatWasUsedLongestAgo) {
  const uint64_t limit = 200000;  // 24 records of 8 KiB in 4 segments
  open(limit);
  for (uint32_t i = 0; i < 200; ++i) {
    append(i, i + 1);
    log_->touch(key(0).name);
    EXPECT_LE(bytes_there(), limit);
    EXPECT_EQ(log_->stats().bytes, bytes_there());
  }
  std::vector<uint8_t> got(kPage);
  EXPECT_TRUE(log_->read(key(0), got));
  EXPECT_TRUE(log_->read(key(199), got));
  EXPECT_GE(found(200), 10u);
  EXPECT_GT(log_->stats().dropped, 10u);
  open(30000);  // less than there is: kept when the next page is written
  append(300, 301);
  EXPECT_LE(bytes_there(), 30000u);
  EXPECT_EQ(log_->append(key(1), page(1)).ok(), true);
}

TEST_F(PageLogTest, SaysWhenNothingFits) {
  open(9000);
  EXPECT_THAT(log_->append(key(0), page(0)).message(), HasSubstr("do not hold another page"));
  EXPECT_EQ(bytes_there(), 0u);
}

TEST_F(PageLogTest, PassesOverTheStoreOfAnotherModelAndNamesIt) {
  open();
  append(0, 3);
  open(1 << 20, {{9}, kPage});
  EXPECT_EQ(found(3), 0u);
  EXPECT_EQ(log_->stats().foreign, 1u);
  EXPECT_THAT(log_->stats().others, ElementsAre("a model"));
  append(3, 5);
  open();
  EXPECT_EQ(found(5), 3u);
  // They go first.
  open(80000);
  append(10, 13);
  EXPECT_EQ(log_->stats().foreign, 1u);
  EXPECT_EQ(found(20), 6u);
}

TEST_F(PageLogTest, BrokenRecordsAreCountedAndNeverGiven) {
  open();
  append(0, 12);
  log_.reset();
  const std::string file = segments().at(0);
  std::ifstream in(file, std::ios::binary);
  const std::string whole((std::istreambuf_iterator<char>(in)), {});
  RandomStream random(3, Purpose::test);
  uint64_t bad = 0;
  for (int i = 0; i < 200; ++i) {
    std::string bytes = whole;
    if (random.below(3) == 0) {
      bytes.resize(random.below(uint32_t(bytes.size())));
    } else {
      bytes[random.below(uint32_t(bytes.size()))] ^= char(1 << random.below(8));
    }
    std::ofstream(file, std::ios::binary | std::ios::trunc) << bytes;
    open();
    const uint32_t n = found(12);  // compares what it gives
    EXPECT_LE(n, 12u);
    if (n < 12 && bytes.size() == whole.size()) {
      EXPECT_GE(log_->stats().bad, 1u);
    }
    bad += 12 - n;
    append(20, 21);  // goes on behind, or in a new segment
    std::vector<uint8_t> got(kPage);
    EXPECT_TRUE(log_->read(key(20), got));
    log_.reset();
    for (const std::string& s : segments()) fs::remove(s);
  }
  EXPECT_GT(bad, 100u);
}

TEST_F(PageLogTest, AWriterThatIsKilledLeavesNothingWrong) {
  RandomStream random(4, Purpose::test);
  uint32_t most = 0;
  for (int i = 0; i < 20; ++i) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      auto log = PageLog::open(folder_.path(), 400000, kShape, "a model");
      for (uint32_t n = 0; log.ok(); n = (n + 1) % 100) (void)(*log)->append(key(n), page(n)).ok();
      ::_exit(1);
    }
    ::usleep(500 + random.below(8000u << i / 4));  // long enough for slow builds in the end
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    open(400000);
    most = std::max(most, found(100));
    EXPECT_LE(bytes_there(), 400000u);
    log_.reset();
  }
  EXPECT_GT(most, 5u);
}

TEST_F(PageLogTest, FilesThatAreNotItsOwnStay) {
  fs::create_directories(folder_.path());
  std::ofstream(folder_.path() + "/notes.txt") << "mine";
  std::ofstream(folder_.path() + "/ffffffff.kv") << "mine";
  fs::create_symlink("/etc/passwd", folder_.path() + "/00000007.kv");
  open(100000);
  append(0, 50);
  EXPECT_TRUE(fs::exists(folder_.path() + "/notes.txt"));
  EXPECT_TRUE(fs::exists(folder_.path() + "/ffffffff.kv"));
  EXPECT_TRUE(fs::is_symlink(folder_.path() + "/00000007.kv"));
  EXPECT_GT(found(50), 5u);
}

TEST_F(PageLogTest, RefusesFoldersThatItCannotTrust) {
  open();
  EXPECT_THAT(PageLog::open(folder_.path(), 1 << 20, kShape, "").status().message(), HasSubstr("another process"));
  log_.reset();
  std::ofstream(folder_.path() + "/file") << "x";
  EXPECT_THAT(PageLog::open(folder_.path() + "/file", 1 << 20, kShape, "").status().message(),
              HasSubstr("is not a folder"));
  EXPECT_FALSE(PageLog::open(folder_.path() + "/file/deeper", 1 << 20, kShape, "").ok());
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give a folder away";
  ASSERT_EQ(::chown(folder_.path().c_str(), 1, 1), 0);
  EXPECT_THAT(PageLog::open(folder_.path(), 1 << 20, kShape, "").status().message(), HasSubstr("another user"));
}

}  // namespace
}  // namespace vibee
