// SPDX-License-Identifier: Apache-2.0
// GBNF, llama.cpp's notation of grammars: rules `name ::= ...` of "texts", [classes], ., groups, names, | and the
// repetitions * + ? {n} {n,} {n,m}; # begins a comment. Rules that call nothing but such rules become automata.
#pragma once

#include <string_view>

#include "vibee/serve/grammar/rules.h"

namespace vibee {

/// Adds the rules of `text`; the symbol of its rule `root`. Errors name line and rule.
Result<Symbol> rules_of_gbnf(std::string_view text, Rules& rules);

}  // namespace vibee
