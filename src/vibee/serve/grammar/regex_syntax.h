// SPDX-License-Identifier: Apache-2.0
// ECMA-262 regular expressions (with the flag u) as far as they are regular: characters, classes, \d \w \s and their
// opposites, escapes, groups, alternatives, counted repetition. Lazy repetition names the same texts. Anchors stand at
// the ends of an alternative of the whole. Refused by name: back references, lookaround, \b, \p{...}.
#pragma once

#include <string_view>

#include "vibee/base/status/status.h"
#include "vibee/serve/grammar/char_set.h"

namespace vibee {

/// How a pattern's characters are written: utf8_char or json_char.
using CharWriter = Re (*)(Regular&, const CharSet&);

/// The texts that `pattern` matches; with `search` those in which it matches anywhere. Errors name the byte of the
/// pattern: Code::invalid for what is no pattern, Code::unsupported for what is not regular.
Result<Re> parse_regex(Regular& regular, std::string_view pattern, CharWriter write, bool search);

}  // namespace vibee
