// SPDX-License-Identifier: Apache-2.0
// vibee tokenizer train.
#pragma once

#include "vibee/app/cli/document_args.h"

namespace vibee {

struct TrainTokenizerArgs {
  std::string directory, pre = "gpt2", chat_template;
  DocumentArgs documents;
  std::vector<std::string> special;
  uint64_t vocabulary = 8192, least = 2;
  bool characters = false, json = false;
  void add_to(Args& args);
  Status run() const;
};

}  // namespace vibee
