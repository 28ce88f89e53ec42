// SPDX-License-Identifier: Apache-2.0
// Free text in which tagged parts keep to a JSON Schema: how models write that they call a function. The source is a
// JSON object:
//   begin, end   what stands around a part; an empty `begin`: the whole text is one part, or begins neither with { nor
//   [ schema       of the part between them free         whether text may stand around the parts, and they may be
//   absent; else true several      whether more than one may come; else true
// The first `begin` in free text begins a part, whatever tokens spell it.
#pragma once

#include <string_view>

#include "vibee/serve/grammar/rules.h"

namespace vibee {

/// Adds the rules of the source; the symbol of whole texts. Errors of the schema begin with its JSON pointer.
Result<Symbol> rules_of_tagged(std::string_view text, Rules& rules);

}  // namespace vibee
