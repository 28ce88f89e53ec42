// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/server/tool_calls.h"

#include <gtest/gtest.h>

#include "vibee/base/random/philox.h"
#include "vibee/kit/small_tokenizer.h"

namespace vibee {
namespace {

struct Whole {
  std::string content, calls;
};

/// The text in pieces of random lengths.
Whole parse(std::string_view chat_template, std::string_view text, uint64_t seed) {
  ToolCallParser parser(tool_format(chat_template));
  RandomStream random(seed, Purpose::test);
  Whole out;
  const auto add = [&](const ToolCallParser::Pieces& p) {
    out.content += p.content;
    for (const ToolCall& c : p.calls) out.calls += c.name + c.arguments + ";";
  };
  for (size_t at = 0; at < text.size();) {
    const size_t n = 1 + random.below(seed == 0 ? 1000 : 5);
    add(parser.push(text.substr(at, n)));
    at += n;
  }
  add(parser.finish());
  return out;
}

TEST(ToolCalls, AreFoundWhereverTheTextIsCut) {
  struct Case {
    std::string_view chat_template, text, content, calls;
  };
  const Case cases[] = {
      {"<tool_call>", "Let me see.<tool_call>\n{\"name\": \"a\", \"arguments\": {\"x\": 1}}\n</tool_call>",
       "Let me see.", "a{\"x\":1};"},
      {"<tool_call>",
       "<tool_call>{\"name\": \"a\", \"arguments\": {}}</tool_call><tool_call>{\"name\": \"b\", \"arguments\": "
       "\"{}\"}</tool_call>",
       "", "a{};b{};"},
      {"<tool_call>",
       "<tool_call>\n{\"name\": \"a\", \"arguments\": {}}\n</tool_call>\n\n<tool_call>{\"name\": \"b\", \"arguments\": "
       "{}}</tool_call>\n so",
       "so", "a{};b{};"},
      {"<tool_call>", "a < b and <tool_cal", "a < b and <tool_cal", ""},
      {"<tool_call>", "<tool_call>{\"name\": \"a\", \"argu", "<tool_call>{\"name\": \"a\", \"argu", ""},
      {"<tool_call>", "<tool_call>{\"name\": \"a\", \"arguments\": {}}", "", "a{};"},
      {"[TOOL_CALLS]",
       "[TOOL_CALLS] [{\"name\": \"a\", \"arguments\": {}}, {\"name\": \"b\", \"arguments\": {\"k\": [1]}}]", "",
       "a{};b{\"k\":[1]};"},
      {"<|python_tag|>", "<|python_tag|>{\"name\": \"a\", \"parameters\": {\"c\": \"Oslo\"}}", "",
       "a{\"c\":\"Oslo\"};"},
      {"tools", " {\"name\": \"a\", \"arguments\": {}}", "", "a{};"},
      {"tools", "{\"no\": \"call\"}", "{\"no\": \"call\"}", ""},
      {"tools", "Hello {\"name\": \"a\"}", "Hello {\"name\": \"a\"}", ""},
      {"tools", "", "", ""},
  };
  for (const Case& c : cases) {
    for (uint64_t seed = 0; seed < 40; ++seed) {
      const Whole got = parse(c.chat_template, c.text, seed);
      EXPECT_EQ(got.content, c.content) << c.text;
      EXPECT_EQ(got.calls, c.calls) << c.text;
    }
  }
}

TEST(ToolCalls, ToolsAreChecked) {
  const auto param = [](const char* text) { return check_tools(Json::parse(text)).value_or(ApiError{}).param; };
  EXPECT_EQ(param(R"([{"type": "function", "function": {"name": "a", "parameters": {}}}])"), "");
  EXPECT_EQ(param(R"([{"type": "web_search"}])"), "tools[0].type");
  EXPECT_EQ(param(R"([5])"), "tools[0].type");
  EXPECT_EQ(param(R"([{"type": "function", "function": {}}])"), "tools[0].function.name");
  EXPECT_EQ(param(R"([{"type": "function", "function": {"name": "a", "parameters": 5}}])"),
            "tools[0].function.parameters");
}

/// Random answers in the grammar of `choice`, drawn from all tokens, or mostly from those that are `likely`.
struct Answers {
  size_t finished = 0, calls = 0, most = 0, with_text = 0;
};
Answers draw(const ToolFormat& format, const Json& tools, const ToolChoice& choice) {
  const std::vector<std::string> likely = {
      "<tool_call>", "</tool_call>",   "[TOOL_CALLS]",         "<tool", "_call>",
      "x",           "{\"name\": \"a", "\", \"arguments\": {", "}}",    "\"x\": 1"};
  const auto tokenizer = small_tokenizer(likely, {});
  GrammarCompiler compiler(*tokenizer);
  const auto grammar = compiler.compile(tool_call_grammar(format, tools, choice));
  EXPECT_TRUE(grammar.ok()) << grammar.status().message();
  Answers out;
  if (!grammar.ok()) return out;
  for (uint64_t seed = 0; seed < 60; ++seed) {
    RandomStream random(seed, Purpose::test);
    GrammarState state(*grammar);
    std::string text;
    for (int i = 0; i < 400 && !state.ended(); ++i) {
      const auto mask = state.mask();
      std::vector<int32_t> may, good;
      for (int32_t t = 0; t < tokenizer->size(); ++t) {
        if (!(mask[size_t(t) / 64] >> (t % 64) & 1)) continue;
        may.push_back(t);
        if (tokenizer->is_end(t) || tokenizer->piece(t).size() > 1) good.push_back(t);
      }
      const auto& from = good.empty() || random.below(3) == 0 ? may : good;
      const int32_t token = from[random.below(uint32_t(from.size()))];
      if (!tokenizer->is_end(token)) text += tokenizer->piece(token);
      EXPECT_TRUE(state.accept(token));
    }
    if (!state.ended()) continue;
    ++out.finished;
    ToolCallParser parser(format);
    ToolCallParser::Pieces all = parser.push(text), rest = parser.finish();
    all.content += rest.content;
    all.calls.insert(all.calls.end(), rest.calls.begin(), rest.calls.end());
    for (const ToolCall& call : all.calls) {
      const Json arguments = Json::parse(call.arguments);
      if (call.name == "a")
        EXPECT_TRUE(arguments.size() == 1 && arguments["x"].is_number_integer()) << text;
      else
        EXPECT_EQ(call.name, "b") << text;
    }
    if (!format.end.empty()) {  // every part that begins is a call
      size_t begun = 0;
      for (size_t at = text.find(format.begin); at != text.npos; at = text.find(format.begin, at + 1)) ++begun;
      EXPECT_EQ(begun, all.calls.size()) << text;
    }
    out.calls += all.calls.size();
    out.most = std::max(out.most, all.calls.size());
    out.with_text += !all.content.empty();
    if (choice.required) {
      EXPECT_TRUE(!all.calls.empty() && all.content.empty()) << text;
    }
    for (const ToolCall& call : all.calls) EXPECT_TRUE(choice.only.empty() || call.name == choice.only) << call.name;
  }
  return out;
}

TEST(ToolCalls, AnswersHoldCallsOfTheirSchemaAndFreeText) {
  const Json tools = Json::parse(
      R"([{"type":"function","function":{"name":"a","parameters":{"type":"object","properties":{"x":{"$ref":"#/$defs/n"}},
           "required":["x"],"additionalProperties":false,"$defs":{"n":{"type":"integer"}}}}},
          {"type":"function","function":{"name":"b","parameters":{"type":"object","maxProperties":0}}}])");
  for (const char* marker : {"<tool_call>", "[TOOL_CALLS]", "<|python_tag|>", ""}) {
    SCOPED_TRACE(marker);
    const ToolFormat& format = tool_format(marker);
    const Answers free = draw(format, tools, {}), must = draw(format, tools, {true, true, {}}),
                  one = draw(format, tools, {true, false, {}}), only = draw(format, tools, {true, true, "b"});
    EXPECT_GT(free.finished, 20u);
    EXPECT_GT(free.with_text, 0u);
    EXPECT_GT(must.finished, 20u);
    EXPECT_EQ(must.with_text + one.with_text + only.with_text, 0u);
    EXPECT_EQ(one.most, 1u);
    if (format.id == "hermes") {
      EXPECT_GT(free.calls, 0u);
      EXPECT_GT(must.most, 1u);
    }
  }
}

}  // namespace
}  // namespace vibee
