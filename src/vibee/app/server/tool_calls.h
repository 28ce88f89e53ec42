// SPDX-License-Identifier: Apache-2.0
// How models write that they call a function, and the way back to calls: one parser for streamed and plain answers.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "vibee/app/server/fields.h"
#include "vibee/serve/grammar/grammar.h"

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
  bool list;  ///< a list of calls, else one; whoever writes one may write several, one behind the other
};
const ToolFormat& tool_format(std::string_view chat_template);

/// What is wrong with `tools` of a request, or nothing.
std::optional<ApiError> check_tools(const Json& tools);
/// Which calls an answer holds.
struct ToolChoice {
  bool required = false;  ///< nothing but calls, at least one; else text with any number of them
  bool several = true;    ///< whether more than one may be made
  std::string only;       ///< the one function to call; empty: any
};
/// What answers look like that call `tools` in the way of `format`, their arguments in the schemas of the functions.
GrammarSource tool_call_grammar(const ToolFormat& format, const Json& tools, const ToolChoice& choice);
/// The control tokens of a vocabulary that `format` is written with.
std::vector<int32_t> control_tokens(const ToolFormat& format, const Tokenizer& tokenizer);

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
  void say(std::string_view text, Pieces* out);
  const ToolFormat* format_;
  std::string held_;
  bool inside_ = false;  ///< behind `begin`
  bool behind_ = false;  ///< behind a call: white space there is no text
  bool plain_ = false;   ///< of a format without `begin`: the text is no call
};

}  // namespace vibee
