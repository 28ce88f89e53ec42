// SPDX-License-Identifier: Apache-2.0
// The arguments of verbs that read documents, with one spelling.
#pragma once

#include "vibee/app/cli/args.h"
#include "vibee/train/data/document_scan.h"

namespace vibee {

struct DocumentArgs {
  std::vector<std::string> inputs;
  std::string kind = "auto", field = "text", separator;
  uint32_t threads = 0;
  /// INPUT... --as --field --separator --threads
  void add_to(Args& args);
  /// Directories, and files that are also among `outputs`, are refused.
  Result<DocumentScan> scan(const std::vector<std::string>& outputs) const;
  /// Bytes of the inputs as far as they can be known.
  uint64_t bytes() const;
};

}  // namespace vibee
