// SPDX-License-Identifier: Apache-2.0
#include "vibee/train/data/document_encoder.h"

#include <gmock/gmock.h>

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "vibee/kit/small_tokenizer.h"
#include "vibee/model/token/detokenizer.h"
#include "vibee/model/token/tokenizer_json.h"

namespace vibee {
namespace {

using ::testing::HasSubstr;

/// Byte tokens, "<e>" as the control token that ends a turn, and a template.
std::unique_ptr<Tokenizer> chat_tokenizer(const std::string& chat_template) {
  TokenizerSpec spec;
  spec.model = "llama";
  spec.add_space_prefix = false;
  const auto add = [&](std::string text, TokenType type) {
    spec.tokens.push_back(std::move(text));
    spec.types.push_back(uint8_t(type));
    spec.scores.push_back(-double(spec.tokens.size()));
  };
  add("<unk>", TokenType::unknown);
  add("<e>", TokenType::control);
  for (uint32_t b = 0; b < 256; ++b) add(fmt::format("<0x{:02X}>", b), TokenType::byte);
  spec.unk = 0;
  spec.eos = 1;
  spec.chat_template = chat_template;
  auto made = make_tokenizer(std::move(spec));
  VIBEE_CHECK(made.ok(), "{}", made.status().message());
  return std::move(*made);
}

const std::string kTemplate =
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}<e>\n{% endfor %}{% if add_generation_prompt %}[assistant]{% "
    "endif %}";

TextDocument chat(std::vector<ChatMessage> messages) {
  TextDocument out;
  out.messages = std::move(messages);
  out.where = "x.jsonl, line 3";
  return out;
}

TEST(DocumentEncoder, AnswersAreLearntUpToTheTokenThatEndsThem) {
  const auto tokenizer = chat_tokenizer(kTemplate);
  const auto encoder = DocumentEncoder::make(*tokenizer, false);
  ASSERT_TRUE(encoder.ok()) << encoder.status().message();
  TokenDocument out;
  const Status status = encoder->encode(chat({{"system", "S"},
                                              {"user", "Hi"},
                                              {"assistant", "Yes."},
                                              {"user", "So?"},
                                              {"assistant", "No."},
                                              {"user", "Ok"}}),
                                        &out);
  ASSERT_TRUE(status.ok()) << status.message();
  ASSERT_EQ(out.ids.size(), out.learnt.size());
  std::string all, learnt;
  for (size_t i = 0; i < out.ids.size(); ++i) {
    const std::string piece(tokenizer->piece(out.ids[i]));
    all += piece;
    if (out.learnt[i]) learnt += piece;
  }
  EXPECT_EQ(all, "[system]S<e>\n[user]Hi<e>\n[assistant]Yes.<e>\n[user]So?<e>\n[assistant]No.<e>\n[user]Ok<e>\n");
  EXPECT_EQ(learnt, "Yes.<e>No.<e>");
}

/// data/golden/chat: the forms of published templates, and conversations of several turns, empty answers among them.
TEST(DocumentEncoder, IdsAndAnswersAreThoseOfTransformers) {
  const std::string folder = VIBEE_SOURCE_DIR "/data/golden/chat/";
  std::ifstream golden_file(folder + "golden.json"), tokenizer_file(folder + "tokenizer.json");
  const std::string json(std::istreambuf_iterator<char>(tokenizer_file), {});
  size_t cases = 0;
  for (const auto& golden : nlohmann::json::parse(golden_file)) {
    auto spec = read_tokenizer_json(json, "tokenizer.json");
    ASSERT_TRUE(spec.ok()) << spec.status().message();
    spec->chat_template = golden.at("template");
    const auto tokenizer = make_tokenizer(std::move(*spec));
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
    const auto encoder = DocumentEncoder::make(**tokenizer, false);
    ASSERT_TRUE(encoder.ok()) << encoder.status().message();
    std::vector<ChatMessage> messages;
    for (const auto& m : golden.at("messages")) messages.push_back({m.at("role"), m.at("content")});
    TokenDocument out;
    const Status status = encoder->encode(chat(messages), &out);
    ASSERT_TRUE(status.ok()) << status.message();
    EXPECT_EQ(out.ids, golden.at("ids").get<std::vector<int32_t>>()) << golden;
    std::vector<int> learnt(out.learnt.begin(), out.learnt.end());
    EXPECT_EQ(learnt, golden.at("learnt").get<std::vector<int>>()) << golden;
    ++cases;
  }
  EXPECT_EQ(cases, 15u);
}

TEST(DocumentEncoder, SaysWhyAConversationCannotBeLearnt) {
  const auto failure = [](const std::string& chat_template, std::vector<ChatMessage> messages) {
    const auto tokenizer = chat_tokenizer(chat_template);
    const auto encoder = DocumentEncoder::make(*tokenizer, false);
    TokenDocument out;
    return encoder.ok() ? encoder->encode(chat(std::move(messages)), &out).message() : encoder.status().message();
  };
  EXPECT_THAT(failure(kTemplate, {{"user", "Hi"}}), HasSubstr("x.jsonl, line 3: no message has the role assistant"));
  EXPECT_THAT(failure("", {{"user", "Hi"}, {"assistant", "Yes"}}), HasSubstr("no chat template"));
  EXPECT_THAT(failure("{% if %}", {{"user", "Hi"}}), HasSubstr("chat template: "));
  EXPECT_THAT(failure("{{ messages | length }}", {{"user", "Hi"}, {"assistant", "Yes"}}),
              HasSubstr("writes earlier messages differently"));
  EXPECT_THAT(failure("{{ raise_exception('no system') }}", {{"user", "Hi"}, {"assistant", "Yes"}}),
              HasSubstr("no system"));
}

TEST(DocumentEncoder, TextsGetTheTokensAroundThem) {
  const auto tokenizer = chat_tokenizer("");
  const auto encoder = DocumentEncoder::make(*tokenizer, false), special = DocumentEncoder::make(*tokenizer, true);
  ASSERT_TRUE(encoder.ok() && special.ok());
  TokenDocument out;
  ASSERT_TRUE(encoder->encode({.text = "a<e>"}, &out).ok());
  EXPECT_EQ(out.ids.size(), 5u);  // spelled, and the end
  EXPECT_EQ(out.ids.back(), 1);
  EXPECT_TRUE(out.learnt.empty());
  ASSERT_TRUE(special->encode({.text = "a<e>"}, &out).ok());
  EXPECT_THAT(out.ids, testing::ElementsAre(2 + 'a', 1, 1));
  ASSERT_TRUE(encoder->encode({.text = "a", .ends = false}, &out).ok());
  EXPECT_THAT(out.ids, testing::ElementsAre(2 + 'a'));
  EXPECT_FALSE(out.ends);
}

}  // namespace
}  // namespace vibee
