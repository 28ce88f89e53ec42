// SPDX-License-Identifier: Apache-2.0
// The model cache over a pip that copies wheels from a folder: pulls, and pulls that are killed, starved, raced and
// lied to.
#include "vibee/model/cache/cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

#include "vibee/kit/zip_builder.h"
#include "vibee/model/cache/digest.h"
#include "vibee/model/cache/run_process.h"
#include "vibee/model/cache/wheel.h"
#include "vibee/model/weight/atomic_file.h"

namespace vibee {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

std::string hash_of(std::string_view text) {
  Digest h;
  h.update({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
  return h.finish();
}

void write(const fs::path& path, std::string_view text) {
  std::ofstream(path, std::ios::binary).write(text.data(), std::streamsize(text.size()));
}

std::string read(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string pattern(size_t n, uint32_t seed) {
  std::string out(n, '\0');
  for (char& c : out) c = char((seed = seed * 1664525 + 1013904223) >> 24);
  return out;
}

// pip download ... -d DIR ... PACKAGE==VERSION, where the index is the folder $SOURCE. It logs each call and obeys
// files there: `hang` makes it copy half of a wheel and sleep, `broken` makes it fail with that text, `junk` makes it
// deliver that file.
constexpr const char* kPip = R"(
while [ $# -gt 1 ]; do [ "$1" = -d ] && dir=$2; shift; done
package=${1%==*}; version=${1#*==}
echo "$1" >> "$SOURCE/calls"
wheel=$(echo "$package" | tr - _)-$version-py3-none-any.whl
[ -e "$SOURCE/hang" ] && { head -c 1000 "$SOURCE/$wheel" > "$dir/$wheel"; cp "$SOURCE/$wheel" "$TMPDIR/"; exec sleep 60; }
[ -e "$SOURCE/broken" ] && { cat "$SOURCE/broken" >&2; exit 1; }
[ -e "$SOURCE/junk" ] && { cp "$SOURCE/junk" "$dir/$wheel"; exit 0; }
[ -e "$SOURCE/$wheel" ] || { echo "ERROR: No matching distribution found for $1" >&2; exit 1; }
sleep 0.1
cp "$SOURCE/$wheel" "$dir/$wheel"
)";

class Cache : public testing::Test {
 protected:
  Cache() {
    static std::atomic<int> serial = 0;
    root_ = fs::temp_directory_path() / fmt::format("vibee_cache_test_{}_{}", ::getpid(), serial++);
    fs::create_directories(root_ / "index");
    write(root_ / "pip.sh", kPip);
    ::setenv("SOURCE", (root_ / "index").c_str(), 1);
    options_.directory = (root_ / "cache").string();
    options_.pip = {"/bin/sh", (root_ / "pip.sh").string()};
    content_ = pattern(300000, 1);
    options_.known = {model("tiny", {content_}), model("joined", {content_, pattern(200000, 2)})};
  }
  ~Cache() override { fs::remove_all(root_); }

  KnownModel model(const std::string& name, const std::vector<std::string>& parts) {
    KnownModel m{name, 0, "", {}};
    std::string whole;
    for (size_t i = 0; i < parts.size(); ++i) {
      const std::string member = fmt::format("pkg/data/{}.gguf.part{}", name, i);
      const std::string zip = zip_of(member, parts[i]);
      const std::string wheel = fmt::format("{}_part{}-1.0-py3-none-any.whl", name, i);
      write(root_ / "index" / wheel, zip);
      m.parts.push_back({fmt::format("{}-part{}", name, i), "1.0", member, wheel, zip.size(), hash_of(zip)});
      whole += parts[i];
    }
    m.bytes = whole.size();
    m.sha256 = hash_of(whole);
    return m;
  }
  /// A model that is a directory: every part a file of it.
  KnownModel directory(const std::string& name, const std::vector<std::string>& files, size_t bytes) {
    std::vector<std::string> parts;
    for (size_t i = 0; i < files.size(); ++i) parts.push_back(pattern(bytes + i, uint32_t(i)));
    KnownModel m = model(name, parts);
    for (size_t i = 0; i < files.size(); ++i) m.parts[i].file = files[i];
    return m;
  }
  Status pull(const std::string& name, const PullProgress& progress = {}) const {
    return cache().pull(name, progress).take_status();
  }
  ModelCache cache() const { return *ModelCache::open(options_); }
  fs::path index(const std::string& file) const { return root_ / "index" / file; }
  fs::path stored(const std::string& file) const { return root_ / "cache" / file; }
  size_t calls() const {
    const std::string log = read(index("calls"));
    return size_t(std::count(log.begin(), log.end(), '\n'));
  }
  CacheState state(const std::string& name) const {
    for (const CachedModel& m : cache().list()) {
      if (m.name == name) return m.state;
    }
    return CacheState::absent;
  }
  std::string pull_error(const std::string& name = "tiny") const {
    const Status s = pull(name);
    EXPECT_THAT(s.message(), Not(HasSubstr("\n")));
    return s.ok() ? "no error" : s.message();
  }

  fs::path root_;
  CacheOptions options_;
  std::string content_;
};

TEST_F(Cache, PullsModelsThatAreDirectories) {
  options_.known = {directory("folder", {"config.json", "1_Pooling/config.json", "model.safetensors"}, 5000)};
  EXPECT_EQ(state("folder"), CacheState::absent);
  ASSERT_EQ(pull_error("folder"), "no error");
  EXPECT_EQ(state("folder"), CacheState::present);
  const auto path = cache().resolve("folder");
  ASSERT_TRUE(path.ok()) << path.status().message();
  EXPECT_EQ(*path, stored("folder"));
  EXPECT_EQ(read(stored("folder/1_Pooling/config.json")), pattern(5001, 1));
  EXPECT_FALSE(fs::exists(stored("partial/folder")));
  EXPECT_TRUE(cache().verify("folder").ok());
  // Bytes that changed are found by the hash, files that are gone by their sizes; a pull replaces both.
  write(stored("folder/config.json"), pattern(5000, 9));
  EXPECT_EQ(state("folder"), CacheState::present);
  EXPECT_THAT(cache().verify("folder").message(), HasSubstr("`vibee pull folder` replaces it"));
  ASSERT_EQ(pull_error("folder"), "no error");
  EXPECT_TRUE(cache().verify("folder").ok());
  fs::remove(stored("folder/model.safetensors"));
  EXPECT_EQ(state("folder"), CacheState::damaged);
  EXPECT_THAT(cache().resolve("folder").status().message(), HasSubstr("replaces it"));
  ASSERT_EQ(pull_error("folder"), "no error");
  EXPECT_EQ(state("folder"), CacheState::present);
  ASSERT_TRUE(cache().remove("folder").ok());
  EXPECT_EQ(state("folder"), CacheState::absent);
  options_.known[0].sha256[0] = options_.known[0].sha256[0] == '0' ? '1' : '0';
  EXPECT_THAT(pull_error("folder"), HasSubstr("the unpacked model has"));
  EXPECT_EQ(state("folder"), CacheState::partial);
}

TEST_F(Cache, PullsListsResolvesAndRemoves) {
  EXPECT_EQ(state("tiny"), CacheState::absent);
  EXPECT_FALSE(fs::exists(options_.directory));
  std::vector<std::string> stages;
  const Status s = pull("tiny", [&](std::string_view stage, uint64_t done, uint64_t total) {
    EXPECT_LE(done, total);
    if (stages.empty() || stages.back() != stage) stages.emplace_back(stage);
    return true;
  });
  ASSERT_TRUE(s.ok()) << s.message();
  EXPECT_THAT(stages,
              testing::ElementsAre("downloading tiny-part0 1.0", HasSubstr("checking tiny_part0"), "unpacking"));
  EXPECT_EQ(*cache().resolve("tiny"), stored("tiny.gguf").string());
  EXPECT_EQ(read(stored("tiny.gguf")), content_);
  EXPECT_EQ(state("tiny"), CacheState::present);
  EXPECT_FALSE(fs::exists(stored("partial/tiny")));
  EXPECT_TRUE(cache().verify("tiny").ok());
  EXPECT_TRUE(cache().pull("tiny").ok());
  EXPECT_EQ(calls(), 1u);  // the second pull only checked

  ASSERT_TRUE(cache().remove("tiny").ok());
  EXPECT_EQ(state("tiny"), CacheState::absent);
  EXPECT_THAT(cache().remove("tiny").message(), HasSubstr("not in the cache"));
}

TEST_F(Cache, JoinsParts) {
  ASSERT_EQ(pull_error("joined"), "no error");
  EXPECT_EQ(read(stored("joined.gguf")), content_ + pattern(200000, 2));
  EXPECT_EQ(calls(), 2u);
}

TEST_F(Cache, NamesAndPathsResolve) {
  EXPECT_THAT(cache().resolve("tiny").status().message(),
              AllOf(HasSubstr("vibee pull tiny"), HasSubstr("tiny joined")));
  EXPECT_THAT(cache().resolve("nothing").status().message(),
              AllOf(HasSubstr("\"nothing\""), HasSubstr("known: tiny joined"), HasSubstr("vibee pull NAME")));
  EXPECT_THAT(cache().resolve("a\nb").status().message(), Not(HasSubstr("\n")));
  EXPECT_EQ(*cache().resolve((root_ / "pip.sh").string()), (root_ / "pip.sh").string());
  EXPECT_FALSE(cache().resolve(root_.string()).ok());
  EXPECT_THAT(pull_error("../evil"), HasSubstr("no known model \"../evil\""));
  EXPECT_FALSE(cache().remove("../evil").ok());
}

TEST_F(Cache, DamageIsFoundAndPulledAway) {
  ASSERT_EQ(pull_error(), "no error");
  fs::resize_file(stored("tiny.gguf"), 1000);
  EXPECT_EQ(state("tiny"), CacheState::damaged);
  EXPECT_THAT(cache().resolve("tiny").status().message(), HasSubstr("`vibee pull tiny` replaces it"));
  ASSERT_EQ(pull_error(), "no error");

  std::string flipped = content_;
  flipped[1234] ^= 1;
  write(stored("tiny.gguf"), flipped);
  EXPECT_TRUE(cache().resolve("tiny").ok());  // the size is right; only the hash tells
  EXPECT_THAT(cache().verify("tiny").message(), AllOf(HasSubstr(hash_of(flipped)), HasSubstr("vibee pull tiny")));
  ASSERT_EQ(pull_error(), "no error");
  EXPECT_EQ(read(stored("tiny.gguf")), content_);
}

TEST_F(Cache, AKilledPullGoesOn) {
  write(index("hang"), "");
  const pid_t child = ::fork();
  if (child == 0) {
    (void)cache().pull("joined");
    ::_exit(0);
  }
  while (calls() == 0 || !fs::exists(stored("partial/joined/joined_part0-1.0-py3-none-any.whl"))) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  fs::remove(index("hang"));
  EXPECT_EQ(state("joined"), CacheState::partial);
  EXPECT_THAT(cache().resolve("joined").status().message(), HasSubstr("`vibee pull joined` goes on"));
  ASSERT_EQ(pull_error("joined"), "no error");
  EXPECT_TRUE(cache().verify("joined").ok());
  EXPECT_FALSE(fs::exists(stored("partial/joined")));
}

TEST_F(Cache, WheelsThatAreHereAreNotFetchedAgain) {
  fs::rename(index("joined_part1-1.0-py3-none-any.whl"), index("away"));
  EXPECT_THAT(pull_error("joined"), AllOf(HasSubstr("joined-part1 1.0"), HasSubstr("No matching distribution")));
  EXPECT_EQ(state("joined"), CacheState::partial);
  fs::rename(index("away"), index("joined_part1-1.0-py3-none-any.whl"));
  ASSERT_EQ(pull_error("joined"), "no error");
  EXPECT_THAT(read(index("calls")), "joined-part0==1.0\njoined-part1==1.0\njoined-part1==1.0\n");
}

TEST_F(Cache, ADamagedWheelIsFetchedAgain) {
  fs::rename(index("joined_part1-1.0-py3-none-any.whl"), index("away"));
  EXPECT_NE(pull_error("joined"), "no error");
  fs::rename(index("away"), index("joined_part1-1.0-py3-none-any.whl"));
  std::string wheel = read(stored("partial/joined/joined_part0-1.0-py3-none-any.whl"));
  wheel[5000] ^= 1;
  write(stored("partial/joined/joined_part0-1.0-py3-none-any.whl"), wheel);
  ASSERT_EQ(pull_error("joined"), "no error");
  EXPECT_EQ(calls(), 4u);
}

TEST_F(Cache, AWheelOtherThanTheKnownOneIsRefused) {
  write(index("junk"), "this is not a wheel");
  EXPECT_THAT(pull_error(), AllOf(HasSubstr("tiny-part0 1.0"), HasSubstr("not the known one")));
  std::string wheel = read(index("tiny_part0-1.0-py3-none-any.whl"));
  wheel[7000] ^= 1;
  write(index("junk"), wheel);
  EXPECT_THAT(pull_error(), HasSubstr("not the known one"));
  EXPECT_FALSE(fs::exists(stored("tiny.gguf")));
  fs::remove(index("junk"));
  EXPECT_EQ(pull_error(), "no error");
}

TEST_F(Cache, AModelThatDoesNotMatchItsRowNeverAppears) {
  options_.known[0].sha256[0] ^= 1;
  EXPECT_THAT(pull_error(), HasSubstr("are right"));
  options_.known[0] = model("tiny", {content_});
  options_.known[0].bytes -= 1;
  EXPECT_THAT(pull_error(), HasSubstr("longer than the model's"));
  options_.known[0].bytes += 2;
  EXPECT_THAT(pull_error(), HasSubstr("are right"));
  options_.known[0] = model("tiny", {content_});
  options_.known[0].parts[0].member = "elsewhere";
  EXPECT_THAT(pull_error(), HasSubstr("\"elsewhere\""));
  EXPECT_FALSE(fs::exists(stored("tiny.gguf")));
  EXPECT_FALSE(fs::exists(stored("partial/tiny/model.tmp")));
}

TEST_F(Cache, PipFailuresAreOneLineThatSaysWhatToDo) {
  write(index("broken"),
        "WARNING: Retrying after NewConnectionError: Temporary failure in name resolution\nERROR: No matching\n");
  EXPECT_THAT(pull_error(), AllOf(HasSubstr("no network"), HasSubstr("pull again")));
  write(index("broken"), "/usr/bin/python3: No module named pip\n");
  EXPECT_THAT(pull_error(), HasSubstr("install python3-pip"));
  write(index("broken"), "ERROR: Could not install: [Errno 28] No space left on device\n");
  EXPECT_THAT(pull_error(), HasSubstr("disk is full"));
  write(index("broken"), "first\nERROR: odd \x1b[31m thing\nnotice: a new release\n\n");
  EXPECT_THAT(pull_error(), AllOf(HasSubstr("exit code 1"), HasSubstr("ERROR: odd \\x1b[31m thing")));
  options_.pip = {"no-such-python", "-m", "pip"};
  EXPECT_THAT(pull_error(), AllOf(HasSubstr("\"no-such-python\" cannot be started"), HasSubstr("install python3")));
  options_.pip = {"/bin/true"};
  EXPECT_THAT(pull_error(), HasSubstr("pip gave no file"));
}

TEST_F(Cache, ManyProcessesAtOnceFetchOnce) {
  std::vector<pid_t> children;
  for (int i = 0; i < 6; ++i) {
    const pid_t child = ::fork();
    if (child == 0) ::_exit(cache().pull("joined").ok() && cache().resolve("joined").ok() ? 0 : 1);
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int state = 0;
    ASSERT_EQ(::waitpid(child, &state, 0), child);
    EXPECT_TRUE(WIFEXITED(state) && WEXITSTATUS(state) == 0);
  }
  EXPECT_EQ(calls(), 2u);
  EXPECT_TRUE(cache().verify("joined").ok());
}

TEST_F(Cache, AFullDiskIsOneLineAndLeavesNothingWrong) {
  // With a limit on file sizes the wheels (200 and 300 KB) still fit and the joined model does not.
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);
    const struct rlimit limit = {400000, 400000};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    const Status s = pull("joined");
    ::_exit(s.code() == Code::io && s.message().find("free disk space") != std::string::npos ? 0 : 1);
  }
  int exit = 0;
  ::waitpid(child, &exit, 0);
  EXPECT_TRUE(WIFEXITED(exit) && WEXITSTATUS(exit) == 0);
  EXPECT_EQ(state("joined"), CacheState::partial);
  ASSERT_EQ(pull_error("joined"), "no error");
  EXPECT_EQ(calls(), 2u);  // the wheels were kept
}

TEST_F(Cache, MoreThanTheDiskHoldsIsRefusedBeforeTheDownload) {
  options_.known[0].bytes = uint64_t(1) << 60;
  EXPECT_THAT(pull_error(), AllOf(HasSubstr("MiB of disk"), HasSubstr("free some")));
  EXPECT_EQ(calls(), 0u);
}

TEST_F(Cache, ACancelledPullEndsSoonAndKillsPip) {
  write(index("hang"), "");
  const auto start = std::chrono::steady_clock::now();
  const Status s = pull("tiny", [&](std::string_view, uint64_t, uint64_t) { return calls() == 0; });
  EXPECT_EQ(s.code(), Code::cancelled);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
  fs::remove(index("hang"));
  EXPECT_EQ(pull_error(), "no error");
}

TEST(CachePlace, FollowsTheEnvironment) {
  const char* xdg = std::getenv("XDG_CACHE_HOME");
  const std::string kept = xdg ? xdg : "";
  ::setenv("XDG_CACHE_HOME", "/somewhere", 1);
  EXPECT_EQ(ModelCache::open()->directory(), "/somewhere/vibee");
  ::setenv("XDG_CACHE_HOME", "relative", 1);
  if (const char* home = std::getenv("HOME")) {
    EXPECT_EQ(ModelCache::open()->directory(), std::string(home) + "/.cache/vibee");
  }
  xdg ? ::setenv("XDG_CACHE_HOME", kept.c_str(), 1) : ::unsetenv("XDG_CACHE_HOME");
}

TEST(KnownModels, RowsAreWhole) {
  ASSERT_EQ(known_models().size(), 3u);
  for (const KnownModel& m : known_models()) {
    EXPECT_EQ(m.sha256.size(), 64u);
    EXPECT_FALSE(m.parts.empty());
    for (const ModelPart& p : m.parts) EXPECT_EQ(p.file.empty(), !m.is_directory());
    for (const ModelPart& p : m.parts) {
      EXPECT_EQ(p.wheel_sha256.size(), 64u);
      EXPECT_THAT(p.wheel, HasSubstr("-" + p.version + "-py3-none-any.whl"));
    }
  }
}

TEST(Digest, KnownDigests) {
  EXPECT_EQ(hash_of(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(hash_of("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(RunProcess, KeepsTheEndOfLongErrorsAndTheExitCode) {
  const auto end = run_process({"/bin/sh", "-c", "yes error | head -c 300000 >&2; echo last >&2; exit 7"}, {}, {});
  ASSERT_TRUE(end.ok());
  EXPECT_EQ(end->exit_code, 7);
  EXPECT_LE(end->errors.size(), 65536u);
  EXPECT_THAT(end->errors, testing::EndsWith("last\n"));
  EXPECT_EQ(run_process({"/bin/sh", "-c", "kill -9 $$"}, {}, {})->exit_code, 137);
  EXPECT_EQ(run_process({"/bin/sh", "-c", "echo $A >&2"}, {{"A", "b c"}}, {})->errors, "b c\n");
}

TEST_F(Cache, AWheelWithAWrongChecksumIsAnError) {
  const std::string path = (root_ / "bad.whl").string();
  const auto sink = [](std::span<const uint8_t>) { return Status(); };
  write(path, zip_of("m", "hello", 1));
  EXPECT_THAT(extract_member(path, "m", sink).message(), HasSubstr("CRC"));
  write(path, zip_of("m", "hello"));
  EXPECT_TRUE(extract_member(path, "m", sink).ok());
  for (size_t cut = 0; cut < 60; cut += 7) {
    write(path, zip_of("m", "hello").substr(0, cut));
    EXPECT_FALSE(extract_member(path, "m", sink).ok()) << cut;
  }
  EXPECT_EQ(extract_member(path + "x", "m", sink).code(), Code::corrupt);
}

}  // namespace
}  // namespace vibee
