// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/server/tool_calls.h"

#include <gtest/gtest.h>

#include "vibee/base/random/philox.h"

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

TEST(ToolCalls, TheSchemaAllowsTheToolsAndNothingElse) {
  const Json tools = Json::parse(
      R"([{"type":"function","function":{"name":"a","parameters":{"type":"object","properties":{"x":{"$ref":"#/$defs/n"}},"$defs":{"n":{"type":"integer"}}}}},
          {"type":"function","function":{"name":"b"}}])");
  const Json all = Json::parse(tool_call_schema(tools, {}));
  EXPECT_EQ(all["anyOf"].size(), 2u);
  EXPECT_EQ(all["$defs"]["n"]["type"], "integer");
  EXPECT_EQ(Json::parse(tool_call_schema(tools, "b"))["anyOf"][0]["properties"]["name"]["const"], "b");
}

}  // namespace
}  // namespace vibee
