// SPDX-License-Identifier: Apache-2.0
// How models write that they call a function, and the way back to calls: one parser for streamed and plain answers.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "vibee/app/server/fields.h"

namespace vibee {

struct ToolCall {
  std::string name;
  std::string arguments;  ///< JSON
};

/// A way to write calls, known by what chat templates that teach it contain.
struct ToolFormat {
  std::string_view id;
  std::string_view marker;      ///< in the template; empty: for all others
  std::string_view begin, end;  ///< around the JSON of a call or of a list of calls; empty: the text is nothing else
};
const ToolFormat& tool_format(std::string_view chat_template);

/// What is wrong with `tools` of a request, or nothing.
std::optional<ApiError> check_tools(const Json& tools);
/// A schema of {"name", "arguments"} that calls one of `tools` with arguments of its schema; with `only` that one.
std::string tool_call_schema(const Json& tools, std::string_view only);

/// Text in as it comes, calls and the text between them out.
class ToolCallParser {
 public:
  explicit ToolCallParser(const ToolFormat& format) : format_(&format) {}
  struct Pieces {
    std::string content;
    std::vector<ToolCall> calls;
  };
  Pieces push(std::string_view text);
  /// What was held back, at the end: a call, or text that is none after all.
  Pieces finish();

 private:
  const ToolFormat* format_;
  std::string held_;
  bool inside_ = false;  ///< behind `begin`
  bool plain_ = false;   ///< of a format without `begin`: the text is no call
};

}  // namespace vibee
