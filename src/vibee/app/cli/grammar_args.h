// SPDX-License-Identifier: Apache-2.0
// What a text has to keep to, as arguments.
#pragma once

#include <memory>
#include <string>

#include "vibee/app/cli/args.h"
#include "vibee/model/token/tokenizer.h"
#include "vibee/serve/grammar/grammar.h"

namespace vibee {

struct GrammarArgs {
  std::string json_schema, regex, grammar;
  bool json_object = false;
  /// --json-schema --json-object --regex --grammar
  void add_to(Args& args);
  /// Null when none was given; refused when several were.
  Result<std::shared_ptr<const Grammar>> compile(const Tokenizer& tokenizer) const;
};

}  // namespace vibee
