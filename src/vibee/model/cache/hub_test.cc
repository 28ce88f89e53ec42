// SPDX-License-Identifier: Apache-2.0
// Pulls from a hub on loopback (tests/hub_server.py) that breaks connections, lies, stalls and asks for tokens; from
// addresses and from paths.
#include "vibee/model/cache/hub.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

#include "vibee/kit/python_server.h"
#include "vibee/model/cache/cache.h"
#include "vibee/model/cache/digest.h"
#include "vibee/model/weight/builtin_model.h"

namespace vibee {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

void write(const fs::path& path, std::string_view text) {
  fs::create_directories(path.parent_path());
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
std::string hash_of(std::string_view text) {
  Digest h;
  h.update(text);
  return h.finish();
}

class HubPull : public testing::Test {
 protected:
  HubPull() : root_(new_root()), server_("hub_server.py", root_ / "hub") {
    options_.directory = (root_ / "cache").string();
    options_.known = {};
    options_.hub = {server_.url(), ""};
    options_.http.first_wait_s = 0.01;
    gguf_ = pattern(300000, 1);
    write(repo("gguf/small-Q4_K_M.gguf"), gguf_);
    write(repo("gguf/small-Q8_0.gguf"), pattern(50000, 2));
    write(repo("gguf/README.md"), "hello");
    write(repo("hf/config.json"), "{\"a\": 1}");
    write(repo("hf/model-00001-of-00002.safetensors"), pattern(40000, 3));
    write(repo("hf/model-00002-of-00002.safetensors"), pattern(30000, 4));
    write(repo("hf/tokenizer.json"), "{}");
    write(repo("hf/1_Pooling/config.json"), "{}");
    write(repo("hf/pytorch_model.bin"), pattern(20000, 5));
    write(repo("hf/onnx/model.onnx"), "x");
  }
  ~HubPull() override { fs::remove_all(root_); }

  static fs::path new_root() {
    static std::atomic<int> serial = 0;
    return fs::temp_directory_path() / fmt::format("vibee_hub_test_{}_{}", ::getpid(), serial++);
  }
  fs::path repo(const std::string& path) const { return root_ / "hub" / "some" / path; }
  ModelCache cache() const { return *ModelCache::open(options_); }
  void faults(const std::string& lines) const { write(root_ / "hub" / "faults", lines); }
  /// Requests for files (not the listing) so far.
  std::vector<std::string> requests() const {
    std::ifstream in(root_ / "hub" / "log");
    std::vector<std::string> out;
    for (std::string line; std::getline(in, line);)
      if (!line.starts_with("/api/")) out.push_back(line.substr(line.find(' ') + 1));
    return out;
  }
  std::string pull_error(const std::string& what = "some/gguf", const PullOptions& more = {}) const {
    const auto r = cache().pull(what, {}, more);
    return r.ok() ? "no error" : r.status().message();
  }
  std::string content(const std::string& name = "some/gguf") const {
    const auto path = cache().resolve(name);
    return path.ok() ? read(*path) : path.status().message();
  }

  fs::path root_;
  PythonServer server_;
  CacheOptions options_;
  std::string gguf_;
};

TEST_F(HubPull, TakesTheQuantisationOfARepository) {
  const auto name = cache().pull("hf:some/gguf:q8_0");
  ASSERT_TRUE(name.ok()) << name.status().message();
  EXPECT_EQ(*name, "some/gguf:q8_0");
  EXPECT_EQ(content(*name), pattern(50000, 2));
  ASSERT_EQ(pull_error(), "no error");  // none said: Q4_K_M
  EXPECT_EQ(content(), gguf_);
  const auto list = cache().list();
  ASSERT_EQ(list.size(), 3u);
  EXPECT_EQ(list[0].name, kBuiltinModel);
  EXPECT_EQ(list[1].name, "some/gguf");
  EXPECT_EQ(list[1].bytes, 300000u);
  EXPECT_EQ(list[1].state, CacheState::present);
  EXPECT_THAT(pull_error("some/gguf:Q5_0"),
              AllOf(HasSubstr("q5_0"), HasSubstr("small-Q8_0.gguf"), HasSubstr("some/gguf:FILE")));
  EXPECT_EQ(pull_error("some/gguf:small-Q8_0.gguf"), "no error");
  ASSERT_TRUE(cache().remove("some/gguf").ok());
  EXPECT_THAT(content(), HasSubstr("`vibee pull some/gguf` fetches it"));
}

TEST_F(HubPull, TakesWhatADirectoryOfTransformersIsMadeOf) {
  ASSERT_EQ(pull_error("some/hf"), "no error");
  const auto folder = cache().resolve("some/hf");
  ASSERT_TRUE(folder.ok());
  std::vector<std::string> files;
  for (const auto& e : fs::recursive_directory_iterator(*folder))
    if (e.is_regular_file()) files.push_back(e.path().lexically_relative(*folder).string());
  std::sort(files.begin(), files.end());
  EXPECT_THAT(files, ElementsAre("1_Pooling/config.json", "config.json", "manifest.json",
                                 "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
                                 "tokenizer.json"));
  EXPECT_TRUE(cache().verify("some/hf").ok());

  // A new commit fetches what changed, and the old files are gone.
  const size_t before = requests().size();
  write(repo("hf/tokenizer.json"), "{\"new\": 1}");
  ASSERT_EQ(pull_error("some/hf"), "no error");
  EXPECT_EQ(requests().size(), before + 1);
  EXPECT_EQ(read(fs::path(*folder) / "tokenizer.json"), "{\"new\": 1}");
  EXPECT_FALSE(fs::exists(root_ / "cache/partial/some%2Fhf"));

  // Damage that keeps the size is found by the hash.
  write(fs::path(*folder) / "model-00001-of-00002.safetensors", pattern(40000, 9));
  EXPECT_THAT(cache().verify("some/hf").message(), HasSubstr("SHA-256"));
  ASSERT_EQ(pull_error("some/hf"), "no error");
  EXPECT_TRUE(cache().verify("some/hf").ok());
}

TEST_F(HubPull, BrokenConnectionsAreGoneOnWith) {
  faults("drop 70000");
  ASSERT_EQ(pull_error(), "no error");
  EXPECT_EQ(content(), gguf_);
  EXPECT_THAT(requests(), ElementsAre("range= token=", "range=bytes=70000- token=", "range=bytes=140000- token=",
                                      "range=bytes=210000- token=", "range=bytes=280000- token="));
}

TEST_F(HubPull, NoProgressEndsInOneLine) {
  faults("drop 0");
  EXPECT_THAT(pull_error(), AllOf(HasSubstr("the connection broke"), HasSubstr("pull again to go on")));
  EXPECT_EQ(requests().size(), 5u);
  faults("status 503 100");
  EXPECT_THAT(pull_error(), HasSubstr("answers 503"));
  faults("status 429 2");
  EXPECT_EQ(pull_error(), "no error");
}

TEST_F(HubPull, AServerWithoutRangesIsAskedFromTheBeginning) {
  faults("drop 70000");
  options_.http.tries = 1;
  (void)cache().pull("some/gguf", [&](std::string_view, uint64_t done, uint64_t) { return done < 70000; });
  ASSERT_TRUE(fs::exists(root_ / "cache/partial/some%2Fgguf/small-Q4_K_M.gguf"));
  EXPECT_THAT(content(), HasSubstr("goes on"));
  faults("norange");
  EXPECT_EQ(pull_error(), "no error");
  EXPECT_EQ(content(), gguf_);
}

TEST_F(HubPull, WrongBytesNeverAppear) {
  faults("flip");
  EXPECT_THAT(pull_error(), AllOf(HasSubstr("SHA-256"), HasSubstr("is right")));
  EXPECT_EQ(requests().size(), 2u);  // once more from the beginning
  EXPECT_THAT(content(), Not(testing::Eq(gguf_)));
  faults("endless");
  EXPECT_THAT(pull_error(), HasSubstr("more than the 300000 bytes"));
  EXPECT_LE(fs::file_size(root_ / "cache/partial/some%2Fgguf/small-Q4_K_M.gguf"), 1u << 30);
  faults("");
  EXPECT_EQ(pull_error(), "no error");
}

TEST_F(HubPull, AStalledServerIsLeft) {
  faults("stall");
  options_.http.stall_s = 1;
  options_.http.tries = 1;
  EXPECT_THAT(pull_error(), HasSubstr("the connection broke"));
}

TEST_F(HubPull, TokensGoToTheHubAlone) {
  faults("token secret");
  EXPECT_THAT(pull_error(), AllOf(HasSubstr("refuses (401)"), HasSubstr("HF_TOKEN")));
  options_.hub.token = "wrong";
  EXPECT_THAT(pull_error(), HasSubstr("the token is wrong"));
  options_.hub.token = "secret";
  EXPECT_EQ(pull_error(), "no error");

  const fs::path other = root_ / "other";
  write(other / "some/gguf/small-Q8_0.gguf", pattern(50000, 2));
  const PythonServer elsewhere("hub_server.py", other);
  std::string url = elsewhere.url();
  url.replace(url.find("127.0.0.1"), 9, "localhost");  // another host by name
  faults("redirect " + url);
  EXPECT_EQ(pull_error("some/gguf:Q8_0"), "no error");
  EXPECT_THAT(read(other / "log"), AllOf(HasSubstr("small-Q8_0.gguf"), Not(HasSubstr("secret"))));

  options_.hub.endpoint = "http://hub.example";
  EXPECT_THAT(pull_error(), HasSubstr("not sent over plain http"));
  options_.hub.token = "a\"b\nc";
  EXPECT_THAT(pull_error(), HasSubstr("characters that no token has"));
}

TEST_F(HubPull, ARedirectToAFileIsRefused) {
  faults("redirect file://" + root_.string());
  EXPECT_THAT(pull_error(), HasSubstr("not an http or https address"));
}

TEST_F(HubPull, HostileListings) {
  const std::string commit(40, 'a'), hash(64, 'b');
  const auto listing = [&](const std::string& siblings) {
    write(root_ / "hub/said", "{\"sha\": \"" + commit + "\", \"siblings\": " + siblings + "}");
    faults("listing said");
    return pull_error();
  };
  EXPECT_THAT(listing("[{\"rfilename\": \"../../../evil.gguf\", \"size\": 1, \"blobId\": \"" + commit + "\"}]"),
              HasSubstr("neither .gguf files nor config.json"));
  EXPECT_THAT(listing("[{\"rfilename\": \"/etc/evil.gguf\", \"size\": 1, \"blobId\": \"" + commit + "\"}]"),
              HasSubstr("neither .gguf files"));
  EXPECT_THAT(listing("[{\"rfilename\": \"a.gguf\", \"size\": -1, \"blobId\": \"" + commit + "\"}]"),
              HasSubstr("no size"));
  EXPECT_THAT(listing("[{\"rfilename\": \"a.gguf\", \"size\": 1}]"), HasSubstr("no hash"));
  EXPECT_THAT(
      listing("[{\"rfilename\": \"a.gguf\", \"lfs\": {\"sha256\": \"" + hash + "\", \"size\": 9000000000000000000}}]"),
      HasSubstr("MiB of disk"));
  EXPECT_THAT(listing("7"), HasSubstr("no list"));
  write(root_ / "hub/said", "{");
  EXPECT_THAT(pull_error(), HasSubstr("api/models/some/gguf"));
  write(root_ / "hub/said", std::string(20 << 20, ' '));
  EXPECT_THAT(pull_error(), HasSubstr("more than the 16777216 bytes"));
}

TEST_F(HubPull, SaysWhatIsWrongWithAName) {
  EXPECT_THAT(pull_error("some/nothing"), HasSubstr("no such repository or revision"));
  EXPECT_THAT(pull_error("some/gguf@v9"), HasSubstr("no such repository or revision"));
  EXPECT_THAT(pull_error("nonsense"), HasSubstr("OWNER/NAME"));
  EXPECT_THAT(pull_error("a/../b"), HasSubstr("OWNER/NAME"));
  EXPECT_THAT(pull_error("some/gguf", {.name = "../x"}), HasSubstr("--name"));
  EXPECT_THAT(pull_error("some/gguf", {.sha256 = std::string(64, '0')}), HasSubstr("--sha256 is for"));
  options_.hub.endpoint = "http://127.0.0.1:9";
  EXPECT_THAT(pull_error(), HasSubstr("no network: 127.0.0.1 cannot be reached"));
  options_.http.curl = "no-such-curl";
  EXPECT_THAT(pull_error(), HasSubstr("install curl"));
}

TEST_F(HubPull, AnAddress) {
  const std::string url = server_.url() + "/some/gguf/small-Q8_0.gguf";
  EXPECT_THAT(pull_error(url, {.sha256 = std::string(64, '0')}), HasSubstr("SHA-256"));
  EXPECT_EQ(pull_error(url, {.sha256 = hash_of(pattern(50000, 2))}), "no error");
  EXPECT_EQ(content("small-Q8_0"), pattern(50000, 2));
  EXPECT_EQ(pull_error(url, {.name = "mine"}), "no error");
  EXPECT_EQ(content("mine"), pattern(50000, 2));
  EXPECT_THAT(pull_error(server_.url() + "/page.html"), HasSubstr("OWNER/NAME"));

  // Gone on with only while the server's tag is the same.
  faults("drop 20000\netag one");
  EXPECT_EQ(pull_error(url, {.name = "tagged"}), "no error");
  EXPECT_EQ(requests().back(), "range=bytes=40000- token=");
  options_.http.tries = 1;
  faults("drop 20000\netag two");
  EXPECT_THAT(pull_error(url, {.name = "changed"}), HasSubstr("broke"));
  write(repo("gguf/small-Q8_0.gguf"), pattern(50000, 7));
  faults("etag three");
  EXPECT_EQ(pull_error(url, {.name = "changed"}), "no error");
  EXPECT_EQ(content("changed"), pattern(50000, 7));
}

TEST_F(HubPull, APath) {
  ASSERT_EQ(pull_error(repo("gguf/small-Q8_0.gguf").string()), "no error");
  EXPECT_EQ(content("small-Q8_0"), pattern(50000, 2));
  ASSERT_EQ(pull_error(repo("hf").string(), {.name = "dir"}), "no error");
  EXPECT_TRUE(fs::exists(fs::path(*cache().resolve("dir")) / "1_Pooling/config.json"));
  EXPECT_FALSE(fs::exists(fs::path(*cache().resolve("dir")) / "pytorch_model.bin"));
  write(repo("parts/m-00001-of-00002.gguf"), "a");
  write(repo("parts/m-00002-of-00002.gguf"), "b");
  ASSERT_EQ(pull_error(repo("parts/m-00002-of-00002.gguf").string()), "no error");
  EXPECT_THAT(*cache().resolve("m"), HasSubstr("m-00001-of-00002.gguf"));
  EXPECT_THAT(pull_error(repo("gguf").string() + "/README.md"), HasSubstr("neither a .gguf file"));
}

TEST_F(HubPull, AKilledPullGoesOnAndManyAtOnceFetchOnce) {
  faults("stall");
  const pid_t child = ::fork();
  if (child == 0) {
    (void)cache().pull("some/gguf");
    ::_exit(0);
  }
  const fs::path part = root_ / "cache/partial/some%2Fgguf/small-Q4_K_M.gguf";
  std::error_code none;
  while (!fs::exists(part) || fs::file_size(part, none) < 100000)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  faults("");
  std::vector<pid_t> children;
  for (int i = 0; i < 4; ++i) {
    const pid_t c = ::fork();
    if (c == 0) ::_exit(cache().pull("some/gguf").ok() && cache().resolve("some/gguf").ok() ? 0 : 1);
    children.push_back(c);
  }
  for (const pid_t c : children) {
    int state = 0;
    ::waitpid(c, &state, 0);
    EXPECT_TRUE(WIFEXITED(state) && WEXITSTATUS(state) == 0);
  }
  EXPECT_EQ(content(), gguf_);
  EXPECT_EQ(requests().size(), 2u);
  EXPECT_THAT(requests()[1], HasSubstr("range=bytes=1"));
}

TEST(HubName, Forms) {
  const auto n = parse_hub_name("hf:a/b@v1.0:sub/x.gguf");
  ASSERT_TRUE(n.ok());
  EXPECT_EQ(n->repo, "a/b");
  EXPECT_EQ(n->revision, "v1.0");
  EXPECT_EQ(n->wanted, "sub/x.gguf");
  for (const char* bad : {"", "a", "a/", "/b", "a/b/c", "a/..", "a/b:../x", "a/b@", "a--b/c", "a b/c", "a/b:"})
    EXPECT_FALSE(parse_hub_name(bad).ok()) << bad;
}

TEST(SafePath, StaysInside) {
  for (const char* good : {"a", "a/b.c", "1_Pooling/config.json"}) EXPECT_TRUE(is_safe_path(good)) << good;
  for (const char* bad : {"", "/a", "../a", "a/../b", "a//b", "a/", "./a", "a\\b", "a\nb", "a/.."})
    EXPECT_FALSE(is_safe_path(bad)) << bad;
}

}  // namespace
}  // namespace vibee
