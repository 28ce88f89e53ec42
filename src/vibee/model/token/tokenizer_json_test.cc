// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/token/tokenizer_json.h"

#include <gtest/gtest.h>

#include "vibee/model/token/detokenizer.h"
#include "vibee/model/token/golden_spec.h"

namespace vibee {
namespace {

std::string fnv(const std::vector<int32_t>& ids) {
  uint64_t h = 0xcbf29ce484222325ull;
  for (const int32_t id : ids) {
    for (int b = 0; b < 4; ++b) h = (h ^ (uint32_t(id) >> 8 * b & 0xff)) * 0x100000001b3ull;
  }
  return fmt::format("{:016x}", h);
}

TEST(TokenizerJson, IdsEqualThoseOfHuggingFaceTokenizers) {
  const auto golden = read_golden("token/pipelines.json");
  const auto lines = golden.at("lines").get<std::vector<std::string>>();
  ASSERT_GE(lines.size(), 3000u);
  ASSERT_GE(golden.at("tokenizers").size(), 15u);
  for (const auto& [name, row] : golden.at("tokenizers").items()) {
    auto spec = read_tokenizer_json(row.at("json").get<std::string>(), name);
    ASSERT_TRUE(spec.ok()) << spec.status().message();
    const auto made = make_tokenizer(*spec);
    ASSERT_TRUE(made.ok()) << name << ": " << made.status().message();
    const auto hashes = row.at("hashes").get<std::vector<std::string>>();
    std::vector<int32_t> group;
    size_t bad = 0;
    for (size_t i = 0; i < lines.size(); ++i) {
      std::vector<int32_t> ids;
      const Status status = (*made)->encode(lines[i], true, &ids);
      ASSERT_TRUE(status.ok()) << name << ": " << status.message();
      if (i < row.at("ids").size()) {
        EXPECT_EQ(ids, row.at("ids")[i].get<std::vector<int32_t>>()) << name << " line " << i << ": " << lines[i];
        EXPECT_EQ(decode(**made, ids), row.at("texts")[i].get<std::string>()) << name << " line " << i;
      }
      group.insert(group.end(), ids.begin(), ids.end());
      if (i % 10 == 9) {
        if (fnv(group) != hashes[i / 10] && ++bad <= 3) ADD_FAILURE() << name << " lines " << i - 9 << " to " << i;
        group.clear();
      }
    }
    EXPECT_EQ(bad, 0u) << name << ": groups of lines with other ids";
    std::vector<int32_t> a, b;
    ASSERT_TRUE((*made)->encode("a b", true, &a).ok());
    EXPECT_EQ((*made)->wrap(a), row.at("single").get<std::vector<int32_t>>()) << name;
    a.clear();
    ASSERT_TRUE((*made)->encode("a", true, &a).ok() && (*made)->encode("b", true, &b).ok());
    EXPECT_EQ((*made)->wrap(a, &b), row.at("pair").get<std::vector<int32_t>>()) << name;
  }
}

Status refusal(const std::string& json) {
  auto spec = read_tokenizer_json(json, "t.json");
  if (!spec.ok()) return spec.take_status();
  auto made = make_tokenizer(*spec);
  if (!made.ok()) return made.take_status();
  std::vector<int32_t> ids;
  return (*made)->encode(std::string(3000, 'a') + "!", true, &ids);
}

std::string with(const std::string& key, const std::string& value) {
  return R"({"model":{"type":"BPE","vocab":{"a":0,"b":1},"merges":[],"unk_token":"a"},")" + key + "\":" + value + "}";
}

std::string bpe(const std::string& vocabulary, const std::string& merges) {
  return R"({"model":{"type":"BPE","vocab":)" + vocabulary + R"(,"merges":)" + merges + "}}";
}

TEST(TokenizerJson, HostileFilesAreRefusedAndSaidWhy) {
  const auto expect = [](const std::string& json, Code code, const char* what) {
    const Status status = refusal(json);
    EXPECT_EQ(status.code(), code) << json.substr(0, 200) << ": " << status.message();
    EXPECT_NE(status.message().find(what), std::string::npos) << status.message();
    EXPECT_EQ(status.message().find('\n'), std::string::npos);
  };
  ASSERT_TRUE(refusal(with("normalizer", "null")).ok()) << refusal(with("normalizer", "null")).message();
  expect("", Code::corrupt, "not a JSON object");
  expect("{\"model\":{\"vocab\":{\"\xff\":0}}}", Code::corrupt, "not a JSON object");
  expect(std::string(100000, '['), Code::corrupt, "not a JSON object");
  expect(bpe(R"({"a":0})", R"(["a b"])"), Code::corrupt, "not in the vocabulary");
  expect(bpe(R"({"a":0})", R"([["a"]])"), Code::corrupt, "not two texts");
  expect(bpe(R"({"a":1000000000})", "[]"), Code::corrupt, "far more");
  expect(bpe(R"({"a":99999999999999999999})", "[]"), Code::corrupt, "not an integer");
  expect(bpe(R"({"a":-1})", "[]"), Code::corrupt, "outside");
  expect(bpe(R"({"a":0,"b":0})", "[]"), Code::corrupt, "twice");
  expect(with("added_tokens", R"([{"id":0,"content":"c"}])"), Code::corrupt, "the id 0");
  expect(with("added_tokens", R"([{"id":1000000,"content":"c"}])"), Code::corrupt, "far more");
  expect(with("normalizer", R"({"type":"Nmt"})"), Code::unsupported, "Nmt");
  expect(with("pre_tokenizer", R"({"type":"UnicodeScripts"})"), Code::unsupported, "UnicodeScripts");
  expect(with("decoder", R"({"type":"CTC"})"), Code::unsupported, "CTC");
  expect(with("post_processor", R"({"type":"Other"})"), Code::unsupported, "Other");
  std::string deep = R"({"type":"NFC"})";
  for (int i = 0; i < 40; ++i) deep = R"({"type":"Sequence","normalizers":[)" + deep + "]}";
  expect(with("normalizer", deep), Code::unsupported, "nested");
  const auto split = [](const std::string& regex) {
    return with("pre_tokenizer", R"({"type":"Split","behavior":"Isolated","pattern":{"Regex":")" + regex + R"("}})");
  };
  expect(split("(a|aa)+[^a!]"), Code::invalid, "PCRE2");  // catastrophic backtracking ends
  expect(split(std::string(70000, 'a')), Code::unsupported, "longer");
  expect(split(std::string(3000, '(') + std::string(3000, ')')), Code::corrupt, "nested");
  expect(split("(a"), Code::corrupt, "pattern");
  expect(split("[a[bc]]"), Code::unsupported, "bracket inside");
  expect(split(""), Code::corrupt, "empty");
  const auto map = [](const std::string& base64) {
    return with("normalizer", R"({"type":"Precompiled","precompiled_charsmap":")" + base64 + R"("})");
  };
  expect(map("////fwAA"), Code::corrupt, "character map");
  EXPECT_TRUE(refusal(map("BAAAAP////8=")).ok());  // one unit whose offset points far outside
}

TEST(TokenizerJson, ConfigTokensInBothForms) {
  auto spec = read_tokenizer_json(with("normalizer", "null"), "t.json");
  ASSERT_TRUE(spec.ok());
  ASSERT_TRUE(read_tokenizer_config(R"({"bos_token":"a","eos_token":{"content":"b"},"add_bos_token":true,
                                       "chat_template":[{"name":"x","template":"1"},{"name":"default","template":"2"}]})",
                                    "c.json", &*spec)
                  .ok());
  EXPECT_EQ(spec->bos, 0);
  EXPECT_EQ(spec->eos, 1);
  EXPECT_TRUE(spec->add_bos);
  EXPECT_FALSE(spec->add_eos);
  EXPECT_EQ(spec->chat_template, "2");
  EXPECT_FALSE(read_tokenizer_config(R"({"bos_token":"zzz"})", "c.json", &*spec).ok());
}

}  // namespace
}  // namespace vibee
