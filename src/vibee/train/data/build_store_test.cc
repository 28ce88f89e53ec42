// SPDX-License-Identifier: Apache-2.0
#include "vibee/train/data/build_store.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>

#include "vibee/kit/small_tokenizer.h"
#include "vibee/kit/temp_folder.h"
#include "vibee/model/token/detokenizer.h"

namespace vibee {
namespace {

using ::testing::HasSubstr;

class BuildStoreTest : public testing::Test {
 protected:
  std::string file(const std::string& name, const std::string& text) {
    std::ofstream(folder_.path() + "/" + name, std::ios::binary) << text;
    return folder_.path() + "/" + name;
  }
  std::string out() const { return folder_.path() + "/store"; }
  std::string bytes(const std::string& path) { return *read_small_file(path, 1 << 30); }
  /// The texts of the documents of a store, their end tokens as "|".
  std::vector<std::string> texts() {
    std::vector<std::string> list;
    const auto store = TokenStore::open(out());
    if (!store.ok()) return {store.status().message()};
    for (uint64_t i = 0; i < store->documents(); ++i) {
      const auto extent = store->document(i);
      TokenSpan span;
      EXPECT_TRUE(extent.ok() && store->read(extent->begin, extent->end - extent->begin, &span).ok());
      list.push_back(decode(*tokenizer_, span.ids));
      if (span.ids.back() == tokenizer_->eos()) list.back() += "|";
    }
    return list;
  }
  std::string failure(const BuildConfig& config) {
    const auto report = build_store(out(), *tokenizer_, config);
    EXPECT_FALSE(std::filesystem::exists(out() + ".part"));
    return report.ok() ? "" : report.status().message();
  }
  TempFolder folder_;
  std::unique_ptr<Tokenizer> tokenizer_ = small_tokenizer({"cat", "dog", " "});
};

TEST_F(BuildStoreTest, TextsAndJsonLines) {
  BuildConfig config;
  config.scan.inputs = {file("a.txt", "a cat\nsat"),
                        file("b.jsonl", "{\"text\": \"a dog\"}\n\n  {\"id\": 3, \"text\": \"b\\nc\"}")};
  const auto report = build_store(out(), *tokenizer_, config);
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_THAT(texts(), testing::ElementsAre("a cat\nsat|", "a dog|", "b\nc|"));
  EXPECT_EQ(report->store.documents, 3u);
  EXPECT_EQ(report->store.learnt, report->store.tokens);
  EXPECT_EQ(report->store.bytes, std::filesystem::file_size(out()));
}

TEST_F(BuildStoreTest, Separators) {
  BuildConfig config;
  config.scan.inputs = {file("a.txt", "\n<|end|>\nfirst\n<|end|>\n\nsecond<|end|><|end|>third\nline\n")};
  config.scan.options.separator = "<|end|>";
  for (const size_t piece : {size_t(1) << 20, size_t(8)}) {
    config.scan.options.piece = piece;
    ASSERT_TRUE(build_store(out(), *tokenizer_, config).ok());
    EXPECT_EQ(texts().size(), 3u);
    EXPECT_EQ(texts()[0], "first|");
  }
  config.scan.options.piece = 1 << 20;
  ASSERT_TRUE(build_store(out(), *tokenizer_, config).ok());
  EXPECT_THAT(texts(), testing::ElementsAre("first|", "second|", "third\nline|"));
}

TEST_F(BuildStoreTest, LongTextsComeInPiecesAndLoseNothing) {
  std::string text;
  for (int i = 0; i < 3000; ++i) text += i % 7 == 0 ? "\n\n" : i % 5 == 0 ? "line\n" : "w\xc3\xb6rd \xf0\x9f\x90\x88";
  for (const size_t piece : {size_t(16), size_t(100), size_t(4000)}) {
    DocumentOptions options;
    options.piece = piece;
    auto reader = DocumentReader::open(file("long.txt", text), options);
    ASSERT_TRUE(reader.ok());
    std::string joined;
    bool ended = false, first = true;
    for (TextDocument document;;) {
      const auto more = reader->next(&document);
      ASSERT_TRUE(more.ok()) << more.status().message();
      if (!*more) break;
      EXPECT_LE(document.text.size(), piece);
      EXPECT_EQ(document.begins, first);
      EXPECT_FALSE(ended);
      joined += document.text;
      ended = document.ends;
      first = false;
    }
    EXPECT_TRUE(ended);
    EXPECT_EQ(joined, text);
  }
}

TEST_F(BuildStoreTest, BytesDoNotDependOnThreads) {
  std::string lines;
  for (int i = 0; i < 9000; ++i) lines += fmt::format("{{\"text\": \"cat number {} and dog {}\"}}\n", i, i * i);
  BuildConfig config;
  config.scan.inputs = {file("a.jsonl", lines)};
  config.held_out = 0.1;
  config.held_path = folder_.path() + "/held";
  std::string first, held;
  for (const uint32_t threads : {1u, 2u, 5u}) {
    config.scan.threads = threads;
    const auto report = build_store(out(), *tokenizer_, config);
    ASSERT_TRUE(report.ok()) << report.status().message();
    EXPECT_EQ(report->store.documents + report->held.documents, 9000u);
    EXPECT_NEAR(double(report->held.documents), 900, 120);
    if (first.empty()) first = bytes(out()), held = bytes(config.held_path);
    EXPECT_TRUE(bytes(out()) == first && bytes(config.held_path) == held);
  }
}

TEST_F(BuildStoreTest, SaysWhatIsWrongAndWhere) {
  BuildConfig config;
  const auto of = [&](const std::string& name, const std::string& text) {
    config.scan.inputs = {file(name, text)};
    return failure(config);
  };
  EXPECT_THAT(of("a.txt", ""), HasSubstr("a.txt\": holds no document"));
  EXPECT_THAT(of("a.txt", std::string("abc\0def", 7)), HasSubstr("a zero byte at offset 3"));
  EXPECT_THAT(of("a.txt", "abc\xff"), HasSubstr("byte 0xff at offset 3 is not UTF-8"));
  EXPECT_THAT(of("a.jsonl", "{\"text\": \"a\"}\n{\"text\": oh}\n"),
              HasSubstr("a.jsonl\", line 2: not JSON at byte 10"));
  EXPECT_THAT(of("a.jsonl", "\n[1]\n"), HasSubstr("line 2: is an array of 1, no object"));
  EXPECT_THAT(of("a.jsonl", "{\"body\": \"a\"}"), HasSubstr("has no \"text\"; name the field"));
  EXPECT_THAT(of("a.jsonl", "{\"text\": 3}"), HasSubstr("\"text\" is not a text"));
  EXPECT_THAT(of("a.jsonl", "{\"text\": \"\xff\"}"), HasSubstr("line 1: not JSON"));
  EXPECT_THAT(of("a.jsonl", "{\"messages\": []}"), HasSubstr("no list of messages"));
  EXPECT_THAT(of("a.jsonl", "{\"messages\": [{\"role\": \"user\"}]}"), HasSubstr("message 0 has no \"content\""));
  EXPECT_THAT(of("a.jsonl", "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}"),
              HasSubstr("no chat template"));
  EXPECT_THAT(of("a.jsonl", std::string(200000, '[')), HasSubstr("line 1: nested deeper than"));
  config.scan.inputs = {folder_.path() + "/nothing.txt"};
  EXPECT_THAT(failure(config), HasSubstr("nothing.txt\": cannot be opened"));
  config.scan.inputs = {folder_.path()};
  EXPECT_THAT(failure(config), HasSubstr("reading failed"));
  config.scan.options.line = 1000;
  EXPECT_THAT(of("long.jsonl", "{\"text\": \"" + std::string(3 << 20, 'a')), HasSubstr("line 1: more than 1000 bytes"));
}

}  // namespace
}  // namespace vibee
