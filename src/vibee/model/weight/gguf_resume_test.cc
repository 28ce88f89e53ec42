// SPDX-License-Identifier: Apache-2.0
// A write that was stopped, or whose process was killed, goes on where it was, and believes nothing that it cannot see.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "vibee/kit/temp_folder.h"
#include "vibee/model/weight/gguf.h"
#include "vibee/model/weight/gguf_write.h"

namespace vibee {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

std::string bytes_at(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

class GgufResume : public testing::Test {
 protected:
  GgufResume() : file_(open()), path_(folder_.path() + "/a.gguf") {}
  static Checkpoint open() {
    auto file = open_gguf(std::string(VIBEE_SOURCE_DIR) + "/data/golden/model/llama-b.gguf");
    EXPECT_TRUE(file.ok()) << file.status().message();
    return std::move(*file);
  }
  /// Writes with `resume`; `read_` counts the tensors that were asked for.
  Status write(const std::string& path, const std::string& resume, const WriteProgress& progress = nullptr) {
    read_ = 0;
    return write_gguf(path, file_.metadata(), file_.tensors(),
                      [&](const TensorInfo& t, uint64_t offset, std::span<uint8_t> out) {
                        ++read_;
                        return file_.read(*file_.find(t.name), offset, out);
                      },
                      {.progress = progress, .resume = resume, .resumed = &resumed_});
  }
  /// Stops behind so many slices.
  WriteProgress stop_after(int slices) {
    return [slices](uint64_t, uint64_t) mutable { return --slices > 0; };
  }
  void expect_whole() {
    const std::string plain = folder_.path() + "/plain.gguf";
    const int read = read_;
    ASSERT_TRUE(write(plain, "").ok());
    read_ = read;
    EXPECT_EQ(bytes_at(path_), bytes_at(plain));
    EXPECT_FALSE(fs::exists(path_ + ".part"));
    EXPECT_FALSE(fs::exists(path_ + ".pieces"));
  }

  TempFolder folder_;
  Checkpoint file_;
  std::string path_;
  int read_ = 0;
  uint64_t resumed_ = 0;
};

TEST_F(GgufResume, GoesOnWhereItWasStopped) {
  const Status stopped = write(path_, "job", stop_after(5));
  EXPECT_EQ(stopped.code(), Code::cancelled);
  EXPECT_THAT(stopped.message(), HasSubstr("the same command goes on from there"));
  EXPECT_FALSE(fs::exists(path_));
  ASSERT_TRUE(write(path_, "job").ok());
  EXPECT_EQ(read_, int(file_.tensors().size()) - 5);
  EXPECT_GT(resumed_, 0u);
  expect_whole();
}

TEST_F(GgufResume, GoesOnWhereItsProcessWasKilled) {
  const pid_t child = ::fork();
  if (child == 0) {
    (void)write(path_, "job", [slices = 7](uint64_t, uint64_t) mutable {
      if (--slices == 0) ::raise(SIGKILL);
      return true;
    });
    ::_exit(1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_FALSE(fs::exists(path_));
  ASSERT_TRUE(write(path_, "job").ok());
  EXPECT_EQ(read_, int(file_.tensors().size()) - 7);
  expect_whole();
}

TEST_F(GgufResume, OtherWorkBeginsAnew) {
  ASSERT_EQ(write(path_, "job", stop_after(5)).code(), Code::cancelled);
  ASSERT_TRUE(write(path_, "another job").ok());
  EXPECT_EQ(read_, int(file_.tensors().size()));
  EXPECT_EQ(resumed_, 0u);
  expect_whole();
}

TEST_F(GgufResume, BytesThatChangedAreWrittenAgain) {
  ASSERT_EQ(write(path_, "job", stop_after(6)).code(), Code::cancelled);
  const auto size = fs::file_size(path_ + ".part");
  {
    std::fstream part(path_ + ".part", std::ios::in | std::ios::out | std::ios::binary);
    part.seekp(std::streamoff(size) - 100);
    part.put('x');
    part.seekp(std::streamoff(size) - 99);
    part.put('y');
  }
  ASSERT_TRUE(write(path_, "job").ok());
  EXPECT_GT(read_, int(file_.tensors().size()) - 6);
  expect_whole();
}

TEST_F(GgufResume, HostileLogsChangeNothing) {
  ASSERT_EQ(write(path_, "job", stop_after(6)).code(), Code::cancelled);
  const std::string log = bytes_at(path_ + ".pieces"), part = bytes_at(path_ + ".part");
  const std::string hostile[] = {"",
                                 "x",
                                 log.substr(0, log.size() / 2),
                                 log + std::string(1 << 16, 'z'),
                                 log + log.substr(log.find('\n') + 1),
                                 std::string(1000, '\n'),
                                 log.substr(3)};
  for (const std::string& text : hostile) {
    std::ofstream(path_ + ".pieces", std::ios::binary) << text;
    std::ofstream(path_ + ".part", std::ios::binary) << part << "something that is too much";
    ASSERT_TRUE(write(path_, "job").ok());
    expect_whole();
    fs::remove(path_);
  }
}

TEST_F(GgufResume, TwoDoNotWriteOneFile) {
  const Status first = write(path_, "job", [&](uint64_t, uint64_t) {
    const pid_t child = ::fork();
    if (child == 0) {
      const Status second = write(path_, "job");
      ::_exit(second.code() == Code::io && second.message().find("another process is writing it") != std::string::npos);
    }
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(WEXITSTATUS(status), 1);
    return false;
  });
  EXPECT_EQ(first.code(), Code::cancelled);
}

TEST_F(GgufResume, WhatFinishSaysIsInTheFile) {
  GgufMetadata metadata = file_.metadata();
  metadata["test.value"] = gguf_f64(0);
  const auto read = [&](const TensorInfo& t, uint64_t offset, std::span<uint8_t> out) {
    return file_.read(*file_.find(t.name), offset, out);
  };
  const Status failed = write_gguf(path_, metadata, file_.tensors(), read,
                                   {.resume = "job", .finish = [&](const std::string& temporary, GgufMetadata*) {
                                      EXPECT_TRUE(open_gguf(temporary).ok());
                                      return Status(error(Code::invalid, "not now"));
                                    }});
  EXPECT_EQ(failed.message(), "not now");
  EXPECT_FALSE(fs::exists(path_));
  const Status done =
      write_gguf(path_, metadata, file_.tensors(), read,
                 {.resume = "job", .resumed = &resumed_, .finish = [&](const std::string&, GgufMetadata* m) {
                    (*m)["test.value"] = gguf_f64(1.25);
                    return Status();
                  }});
  ASSERT_TRUE(done.ok()) << done.message();
  EXPECT_GT(resumed_, 0u);
  auto back = open_gguf(path_);
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(*back->get_f64("test.value"), 1.25);
}

}  // namespace
}  // namespace vibee
