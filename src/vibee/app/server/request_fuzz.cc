// SPDX-License-Identifier: Apache-2.0
// Any bytes as the body of a request: parsed, checked against the fields of every route, its messages and tools read.
// And any text as an answer with calls in it: what comes out does not depend on how it was cut.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "vibee/app/server/served_model.h"
#include "vibee/app/server/tool_calls.h"

namespace {

using namespace vibee;

std::string calls_of(std::string_view text, const ToolFormat& format, size_t step) {
  ToolCallParser parser(format);
  std::string content, calls;
  const auto add = [&](const ToolCallParser::Pieces& p) {
    content += p.content;
    for (const ToolCall& c : p.calls) calls += c.name + "(" + c.arguments + ")";
  };
  for (size_t at = 0; at < text.size(); at += step) add(parser.push(text.substr(at, step)));
  add(parser.finish());
  return content + "|" + calls;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string text(reinterpret_cast<const char*>(data) + 1, size - 1);
  for (const char* marker : {"<tool_call>", "[TOOL_CALLS]", ""})
    if (calls_of(text, tool_format(marker), text.size() + 1) != calls_of(text, tool_format(marker), 1 + data[0] % 7))
      std::abort();
  const auto body = parse_body(text);
  if (!std::holds_alternative<Json>(body)) return 0;
  const Json& json = std::get<Json>(body);
  std::string_view route;
  for (const Field& field : api_fields()) {
    if (field.route == route) continue;
    route = field.route;
    FieldReader fields(route, json);
    if (fields.failed && (fields.failed->message.empty() || fields.failed->code.empty())) std::abort();
  }
  if (const auto m = json.find("messages"); m != json.end() && m->is_array()) (void)read_messages(*m);
  if (const auto t = json.find("tools"); t != json.end() && t->is_array() && !check_tools(*t))
    for (const char* marker : {"<tool_call>", "[TOOL_CALLS]", ""})
      (void)tool_call_grammar(tool_format(marker), *t, {data[0] % 2 == 0, data[0] % 3 == 0, {}});
  return 0;
}
