// SPDX-License-Identifier: Apache-2.0
// Cuts a chat template into tokens: text between tags with its white space already controlled (trim_blocks and
// lstrip_blocks on, as transformers renders chat templates), and the words inside tags. Source: the lexer of Jinja 3.1,
// whose rules these are.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "vibee/base/status/status.h"

namespace vibee {

struct TemplateToken {
  enum Type : uint8_t { text, block_begin, block_end, print_begin, print_end, name, string, integer, real, op, end };
  Type type = end;
  std::string value;  ///< text, name, operator, or the unescaped string
  int64_t whole = 0;
  double number = 0;
  uint32_t line = 1, column = 1;
};

/// The last token is always `end`.
Result<std::vector<TemplateToken>> lex_template(std::string_view source);

}  // namespace vibee
