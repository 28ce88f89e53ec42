// SPDX-License-Identifier: Apache-2.0
// Any bytes as a regular expression, where they begin with /, or else as GBNF.
#include "vibee/kit/walk_grammar.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  if (text.starts_with('/'))
    vibee::walk_grammar(vibee::GrammarSource::regex, text.substr(1));
  else
    vibee::walk_grammar(vibee::GrammarSource::gbnf, text);
  return 0;
}
