// SPDX-License-Identifier: Apache-2.0
// A chat template as a tree. Expressions and statements share one node type: what its children mean is said at each
// operation. Source: the grammar of Jinja 3.1 (its parser.py), without inheritance and imports.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "vibee/base/status/status.h"
#include "vibee/model/token/template_lexer.h"
#include "vibee/model/token/template_value.h"

namespace vibee {

enum class TemplateOp : uint8_t {
  // Expressions.
  constant,     // value
  name,         // text
  list,         // kids
  tuple,        // kids
  dict,         // kids: key, value, key, value, ...
  attribute,    // kids[0] . text
  item,         // kids[0] [ kids[1] ]
  slice,        // begin, end, step; each may be null
  call,         // kids[0] ( arguments )
  filter,       // kids[0] | text ( arguments ); in a filter block kids[0] is null
  test,         // kids[0] is text ( arguments )
  negate,       // - kids[0]
  plus,         // + kids[0]
  logical_not,  // not kids[0]
  binary,       // kids[0] text kids[1]
  concat,       // kids[0] ~ kids[1] ~ ...
  logical_and,
  logical_or,
  compare,      // kids[0] texts[0] kids[1] texts[1] kids[2] ...
  conditional,  // kids[0] if kids[1] else kids[2] (may be null)
  // Statements.
  data,          // text
  print,         // kids[0]
  branch,        // if kids[i]: bodies[i]; one body more: else
  loop,          // for kids[0] in kids[1] if kids[2] (may be null): bodies[0], else bodies[1]
  assign,        // set kids[0] = kids[1]
  assign_block,  // set kids[0] through kids[1] (filters, may be null): bodies[0]
  space_name,    // target text . texts[0]
  macro,         // text; kids: parameters; values: defaults of the last of them; bodies[0]
  call_block,    // kids[0]: the call; kids[1]: a macro named caller
  filter_block,  // kids[0]: filters over bodies[0]
  with,          // kids: target, value, target, value, ...; bodies[0]
  scope,         // bodies[0]
  loop_break,
  loop_continue,
};

struct TemplateNode;
using TemplateNodePtr = std::unique_ptr<TemplateNode>;

struct TemplateArgument {
  enum Kind : uint8_t { plain, named, all_of, all_named } kind = plain;
  std::string name;
  TemplateNodePtr value;
};

constexpr uint32_t kUsesVarargs = 1, kUsesKwargs = 2, kUsesCaller = 4;

struct TemplateNode {
  TemplateOp op;
  uint32_t line = 0, column = 0;
  uint32_t depth = 1;
  uint32_t specials = 0;  ///< of a macro: which of kUsesVarargs, kUsesKwargs, kUsesCaller its body names
  std::string text;
  std::vector<std::string> texts;
  TemplateValue value;
  std::vector<TemplateNodePtr> kids;
  std::vector<TemplateNodePtr> defaults;
  std::vector<TemplateArgument> arguments;
  std::vector<std::vector<TemplateNodePtr>> bodies;
};

/// A node of TemplateOp::scope with the whole template.
Result<TemplateNodePtr> parse_template(std::string_view source);

}  // namespace vibee
