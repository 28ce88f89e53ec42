// SPDX-License-Identifier: Apache-2.0
// JSON Schema (2020-12; draft-07's spellings) as rules. Built: type, enum, const; properties, required,
// additionalProperties, patternProperties, propertyNames, min- and maxProperties; items, prefixItems, min- and
// maxItems; min- and maxLength, pattern, format; minimum, maximum, exclusive ones, multipleOf (whole numbers and powers
// of ten below 1); allOf by intersection, anyOf, oneOf where branches provably share nothing, local $ref and $defs,
// recursive ones too. Every other keyword that restricts a value is refused with its JSON pointer.
//
// What is written: properties in the order of the schema and then others, one optional space behind commas and colons,
// strings in their one shortest spelling, nesting as deep as RuleTable::kMaxStack allows.
#pragma once

#include <string_view>

#include "vibee/serve/grammar/rules.h"

namespace vibee {

/// Adds the rules of the schema `text`; the symbol of its values. Errors begin with a JSON pointer.
Result<Symbol> rules_of_json_schema(std::string_view text, Rules& rules);

}  // namespace vibee
