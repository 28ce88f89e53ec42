// SPDX-License-Identifier: Apache-2.0
// What a sound GGUF file gives, and that files which change under the reader give errors.
#include "vibee/model/weight/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "vibee/kit/gguf_builder.h"

namespace vibee {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

GgufBuilder sample() {
  GgufBuilder b;
  b.str("general.architecture", "llama").u32("llama.block_count", 30).f32("llama.eps", 1e-5f).boolean("flag", true);
  b.key("small", GgufType::i8, {0xff}).key("big", GgufType::u64, ByteWriter().u64(UINT64_MAX).bytes);
  b.key("double", GgufType::f64, ByteWriter().u64(std::bit_cast<uint64_t>(0.1)).bytes);
  b.strings("names", {"a", "", "long one"}).floats("scores", {1, -2.5f}).ints("types", {1, -3});
  b.tensor("tok", Format::q8_0, {64, 3}).tensor("norm", Format::f32, {5}).tensor("deep", Format::q4_k, {256, 2, 3, 2});
  return b;
}

TEST(Gguf, GivesMetadataAndTensors) {
  const std::vector<uint8_t> bytes = sample().build();
  Result<Checkpoint> parsed = parse_gguf(bytes, "m.gguf");
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  const Checkpoint& f = *parsed;
  EXPECT_EQ(f.path(), "m.gguf");
  EXPECT_EQ(f.version(), 3u);
  EXPECT_EQ(f.file_size(), bytes.size());
  EXPECT_EQ(*f.get_string("general.architecture"), "llama");
  EXPECT_EQ(*f.get_u64("llama.block_count"), 30u);
  EXPECT_EQ(*f.get_i64("small"), -1);
  EXPECT_EQ(*f.get_u64("big"), UINT64_MAX);
  EXPECT_EQ(*f.get_f64("llama.eps"), double(1e-5f));
  EXPECT_EQ(*f.get_f64("double"), 0.1);
  EXPECT_EQ(*f.get_f64("llama.block_count"), 30.0);
  EXPECT_TRUE(*f.get_bool("flag"));
  EXPECT_THAT(*f.get_strings("names"), ElementsAre("a", "", "long one"));
  EXPECT_THAT(*f.get_floats("scores"), ElementsAre(1, -2.5f));
  EXPECT_THAT(*f.get_ints("types"), ElementsAre(1, -3));
  EXPECT_EQ(*f.array_size("names"), 3u);
  EXPECT_EQ(f.describe("names"), "3 string [\"a\", \"\", \"long one\"]");
  EXPECT_EQ(f.describe("small"), "-1");
  EXPECT_EQ(f.describe("none"), "missing");

  ASSERT_EQ(f.tensors().size(), 3u);
  const TensorInfo* deep = f.find("deep");
  ASSERT_NE(deep, nullptr);
  EXPECT_EQ(deep->format, Format::q4_k);
  EXPECT_THAT(deep->shape, ElementsAre(256, 2, 3, 2));
  EXPECT_EQ(deep->rows(), 12u);
  EXPECT_EQ(deep->elements(), 12u * 256);
  EXPECT_EQ(deep->bytes, 12u * 144);
  EXPECT_EQ(deep->offset % 32, 0u);
  EXPECT_EQ(f.find("tok")->bytes, 3u * 68);
  EXPECT_EQ(f.find("nothing"), nullptr);
  EXPECT_THAT(f.tensor("nothing").status().message(), HasSubstr("\"m.gguf\": tensor \"nothing\" is missing"));
  for (const TensorInfo& t : f.tensors()) {
    std::vector<uint8_t> data(t.bytes);
    ASSERT_TRUE(f.read(t, 0, data).ok());
    EXPECT_TRUE(std::equal(data.begin(), data.end(), bytes.begin() + ptrdiff_t(t.offset))) << t.name;
    ASSERT_TRUE(f.read(t, t.bytes - 3, std::span(data).first(3)).ok());
    EXPECT_EQ(data[0], bytes[t.offset + t.bytes - 3]);
  }
}

TEST(Gguf, VersionTwoAndOtherAlignmentsRead) {
  GgufBuilder b;
  b.version = 2;
  b.alignment = 64;
  b.u32("general.alignment", 64).tensor("a", Format::f32, {3}).tensor("b", Format::q4_0, {32});
  const Result<Checkpoint> f = parse_gguf(b.build(), "m.gguf");
  ASSERT_TRUE(f.ok()) << f.status().message();
  EXPECT_EQ(f->find("b")->offset - f->find("a")->offset, 64u);
}

TEST(Gguf, NestedArraysAreKeptAndSaidToBeOfAnotherType) {
  GgufBuilder b;
  ByteWriter w = GgufBuilder::array(GgufType::array, 2);
  w.raw(GgufBuilder::array(GgufType::u8, 3).bytes).raw({1, 2, 3});
  w.raw(GgufBuilder::array(GgufType::string, 1).bytes).text("x");
  b.key("nested", GgufType::array, w.bytes).u32("after", 5);
  const Result<Checkpoint> f = parse_gguf(b.build(), "m.gguf");
  ASSERT_TRUE(f.ok()) << f.status().message();
  EXPECT_EQ(*f->get_u64("after"), 5u);
  EXPECT_EQ(f->describe("nested"), "2 array [...]");
  EXPECT_THAT(f->get_ints("nested").status().message(), HasSubstr("array of 2 array"));
}

TEST(Gguf, WrongTypesAndMissingKeysAreNamed) {
  const Result<Checkpoint> parsed = parse_gguf(sample().build(), "m.gguf");
  const Checkpoint& f = *parsed;
  const auto message = [](const auto& r) { return r.ok() ? "no error" : r.status().message(); };
  EXPECT_THAT(message(f.get_u64("none")),
              testing::AllOf(HasSubstr("\"m.gguf\""), HasSubstr("\"none\""), HasSubstr("missing")));
  EXPECT_THAT(message(f.get_u64("small")), HasSubstr("key \"small\" is i8 -1, wanted an integer from 0"));
  EXPECT_THAT(message(f.get_i64("big")), HasSubstr("64-bit integer"));
  EXPECT_THAT(message(f.get_u64("general.architecture")), HasSubstr("is string \"llama\""));
  EXPECT_THAT(message(f.get_string("llama.block_count")), HasSubstr("is u32 30, wanted string"));
  EXPECT_THAT(message(f.get_bool("llama.block_count")), HasSubstr("wanted bool"));
  EXPECT_THAT(message(f.get_f64("flag")), HasSubstr("wanted a number"));
  EXPECT_THAT(message(f.get_strings("types")), HasSubstr("is an array of 2 i32"));
  EXPECT_THAT(message(f.get_floats("types")), HasSubstr("f32"));
  EXPECT_THAT(message(f.get_ints("names")), HasSubstr("32-bit integers"));
  EXPECT_THAT(message(f.array_size("flag")), HasSubstr("an array"));
  EXPECT_EQ(*f.get_u64_or("none", 7), 7u);
  EXPECT_EQ(*f.get_string_or("none", "x"), "x");
  EXPECT_EQ(*f.get_f64_or("none", 0.5), 0.5);
  EXPECT_TRUE(*f.get_bool_or("none", true));
  EXPECT_FALSE(f.get_u64_or("flag", 7).ok());
}

GgufBuilder pieces() {
  GgufBuilder b;
  b.str("tokenizer.ggml.model", "llama").strings("tokenizer.ggml.tokens", {"<unk>", "<s>", "</s>", "a"});
  return b.floats("tokenizer.ggml.scores", {0, 0, 0, -1}).ints("tokenizer.ggml.token_type", {2, 3, 3, 1});
}

TEST(GgufTokenizer, SentencePieceDefaults) {
  const Result<TokenizerSpec> s = read_tokenizer(*parse_gguf(pieces().build(), "m.gguf"));
  ASSERT_TRUE(s.ok()) << s.status().message();
  EXPECT_EQ(s->model, "llama");
  EXPECT_THAT(s->tokens, ElementsAre("<unk>", "<s>", "</s>", "a"));
  EXPECT_THAT(s->types, ElementsAre(2, 3, 3, 1));
  EXPECT_THAT(s->scores, ElementsAre(0, 0, 0, -1));
  EXPECT_EQ(s->bos, 1);
  EXPECT_EQ(s->eos, 2);
  EXPECT_EQ(s->unk, 0);
  EXPECT_EQ(s->pad, -1);
  EXPECT_TRUE(s->add_bos);
  EXPECT_FALSE(s->add_eos);
  EXPECT_TRUE(s->add_space_prefix);
}

TEST(GgufTokenizer, ByteLevelDefaultsAndKeys) {
  GgufBuilder b;
  b.str("tokenizer.ggml.model", "gpt2")
      .str("tokenizer.ggml.pre", "smollm")
      .strings("tokenizer.ggml.tokens", {"a", "b", "ab"});
  b.strings("tokenizer.ggml.merges", {"a b"});
  Result<TokenizerSpec> s = read_tokenizer(*parse_gguf(b.build(), "m.gguf"));
  ASSERT_TRUE(s.ok()) << s.status().message();
  EXPECT_FALSE(s->add_bos);
  EXPECT_FALSE(s->add_space_prefix);
  EXPECT_EQ(s->bos, -1);  // llama.cpp's default, 11, is not in this vocabulary
  EXPECT_THAT(s->merges, ElementsAre(TokenMerge{"ab", 1}));
  b.u32("tokenizer.ggml.bos_token_id", 2).u32("tokenizer.ggml.eos_token_id", 1).u32("tokenizer.ggml.eot_token_id", 0);
  b.u32("tokenizer.ggml.padding_token_id", 2).u32("tokenizer.ggml.unknown_token_id", 1);
  b.boolean("tokenizer.ggml.add_bos_token", true).boolean("tokenizer.ggml.add_eos_token", true);
  b.boolean("tokenizer.ggml.add_space_prefix", true).str("tokenizer.chat_template", "{{ x }}");
  s = read_tokenizer(*parse_gguf(b.build(), "m.gguf"));
  ASSERT_TRUE(s.ok()) << s.status().message();
  EXPECT_EQ(s->bos, 2);
  EXPECT_EQ(s->eos, 1);
  EXPECT_EQ(s->eot, 0);
  EXPECT_EQ(s->pad, 2);
  EXPECT_EQ(s->unk, 1);
  EXPECT_TRUE(s->add_bos && s->add_eos && s->add_space_prefix);
  EXPECT_EQ(s->chat_template, "{{ x }}");
}

TEST(GgufTokenizer, SomeByteLevelVocabulariesStartWithBos) {
  GgufBuilder b;
  b.str("tokenizer.ggml.model", "gpt2").str("tokenizer.ggml.pre", "llama-bpe").strings("tokenizer.ggml.tokens", {"a"});
  b.strings("tokenizer.ggml.merges", {});
  EXPECT_TRUE(read_tokenizer(*parse_gguf(b.build(), "m.gguf"))->add_bos);
}

TEST(GgufTokenizer, RefusesWhatDoesNotFit) {
  const auto message = [](GgufBuilder b) {
    const Result<Checkpoint> f = parse_gguf(b.build(), "m.gguf");
    EXPECT_TRUE(f.ok());
    const Result<TokenizerSpec> s = read_tokenizer(*f);
    return s.ok() ? "no error" : s.status().message();
  };
  EXPECT_THAT(message(GgufBuilder()), HasSubstr("tokenizer.ggml.model"));
  EXPECT_THAT(message(GgufBuilder().str("tokenizer.ggml.model", "rwkv")), HasSubstr("readable: gpt2 llama bert t5"));
  EXPECT_THAT(message(GgufBuilder().str("tokenizer.ggml.model", "llama").strings("tokenizer.ggml.tokens", {})),
              HasSubstr("has 0 tokens"));
  EXPECT_THAT(message(GgufBuilder().str("tokenizer.ggml.model", "gpt2").strings("tokenizer.ggml.tokens", {"a"})),
              HasSubstr("tokenizer.ggml.merges"));
  EXPECT_THAT(message(GgufBuilder()
                          .str("tokenizer.ggml.model", "llama")
                          .strings("tokenizer.ggml.tokens", {"a"})
                          .floats("tokenizer.ggml.scores", {1, 2})),
              HasSubstr("has 2 elements for 1 tokens"));
  EXPECT_THAT(message(pieces().u32("tokenizer.ggml.bos_token_id", 4)), HasSubstr("the vocabulary has 4 tokens"));
  EXPECT_THAT(message(pieces().str("tokenizer.ggml.eos_token_id", "x")), HasSubstr("eos_token_id"));
  GgufBuilder types;
  types.str("tokenizer.ggml.model", "llama")
      .strings("tokenizer.ggml.tokens", {"a"})
      .floats("tokenizer.ggml.scores", {1});
  EXPECT_THAT(message(types.ints("tokenizer.ggml.token_type", {7})), HasSubstr("unknown type 7"));
}

class OnDisk : public testing::Test {
 protected:
  OnDisk() : path_(std::filesystem::temp_directory_path() / fmt::format("gguf_test_{}.gguf", ::getpid())) {}
  ~OnDisk() override { std::filesystem::remove_all(path_); }
  void write(const std::vector<uint8_t>& bytes) {
    std::ofstream(path_, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), std::streamsize(bytes.size()));
  }
  std::filesystem::path path_;
};

TEST_F(OnDisk, OpensAndNoticesAFileThatShrinks) {
  write(sample().build());
  const Result<Checkpoint> f = open_gguf(path_.string());
  ASSERT_TRUE(f.ok()) << f.status().message();
  const TensorInfo& t = *f->find("deep");
  std::vector<uint8_t> data(t.bytes);
  ASSERT_TRUE(f->read(t, 0, data).ok());
  std::filesystem::resize_file(path_, t.offset + 10);
  const Status s = f->read(t, 0, data);
  EXPECT_EQ(s.code(), Code::io);
  EXPECT_THAT(s.message(), HasSubstr("file shrank"));
  EXPECT_THAT(s.message(), HasSubstr(path_.string()));
  EXPECT_THAT(s.message(), HasSubstr("\"deep\""));
}

TEST_F(OnDisk, ASparseGiantIsRefusedWithoutTakingItsSize) {
  write(GgufBuilder().key("big", GgufType::array, GgufBuilder::array(GgufType::u8, uint64_t(10) << 30).bytes).build());
  std::filesystem::resize_file(path_, uint64_t(11) << 30);
  const Result<Checkpoint> f = open_gguf(path_.string());
  ASSERT_FALSE(f.ok());
  EXPECT_THAT(f.status().message(), HasSubstr("larger than 256 MiB"));
}

TEST_F(OnDisk, OnlyRegularFilesOpen) {
  EXPECT_EQ(open_gguf(path_.string()).status().code(), Code::not_found);
  std::filesystem::create_directory(path_);
  EXPECT_THAT(open_gguf(path_.string()).status().message(), HasSubstr("not a regular file"));
  EXPECT_THAT(open_gguf("/dev/zero").status().message(), HasSubstr("not a regular file"));
}

// Real files, named by the environment because they are too large to commit; without them these tests say so.
void read_real(const char* variable, size_t tensors, size_t tokens, Format embedding) {
  const char* path = std::getenv(variable);
  if (!path) GTEST_SKIP() << "set " << variable << " to the path of the file";
  const Result<Checkpoint> f = open_gguf(path);
  ASSERT_TRUE(f.ok()) << f.status().message();
  EXPECT_EQ(f->tensors().size(), tensors);
  EXPECT_EQ(f->find("token_embd.weight")->format, embedding);
  const Result<TokenizerSpec> spec = read_tokenizer(*f);
  ASSERT_TRUE(spec.ok()) << spec.status().message();
  EXPECT_EQ(spec->tokens.size(), tokens);
  std::vector<uint8_t> row(4096);
  std::vector<float> floats;
  for (const TensorInfo& t : f->tensors()) {
    const NumericFormat& format = info(t.format);
    row.resize(format.row_bytes(t.shape[0]));
    floats.resize(t.shape[0]);
    ASSERT_EQ(t.bytes, row.size() * t.rows()) << t.name;
    ASSERT_TRUE(f->read(t, t.bytes - row.size(), row).ok()) << t.name;
    format.decode(row.data(), floats.size(), floats.data());
    for (float v : floats) ASSERT_LT(std::abs(v), 1e5f) << t.name;
  }
}
TEST(GgufReal, Smollm2) { read_real("VIBEE_TEST_SMOLLM2", 272, 49152, Format::q8_0); }
TEST(GgufReal, Gemma3) { read_real("VIBEE_TEST_GEMMA3", 236, 262144, Format::q8_0); }

}  // namespace
}  // namespace vibee
