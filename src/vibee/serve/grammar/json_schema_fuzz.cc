// SPDX-License-Identifier: Apache-2.0
// Any bytes as a JSON schema: compiling must end within its budgets, and whatever compiles is written to its end by any
// choice of tokens.
#include "vibee/kit/walk_grammar.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  vibee::walk_grammar(vibee::GrammarSource::json_schema, std::string(reinterpret_cast<const char*>(data), size));
  return 0;
}
