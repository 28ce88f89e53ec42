// SPDX-License-Identifier: Apache-2.0
// Files of documents -> token stores, on all threads, with bounded memory. The bytes do not depend on the threads.
#pragma once

#include <functional>

#include "vibee/train/data/document_scan.h"
#include "vibee/train/data/token_store.h"

namespace vibee {

struct BuildConfig {
  DocumentScan scan;
  bool special = false;     ///< read special tokens spelled in texts as such
  double held_out = 0;      ///< the share of documents that is kept from `path`, below 1
  std::string held_path{};  ///< where those go
};

struct StoreReport {
  uint64_t documents = 0, tokens = 0, learnt = 0, bytes = 0;
};
struct BuildReport {
  StoreReport store, held;
  uint64_t read = 0;    ///< bytes of the inputs
  uint64_t pieces = 0;  ///< of documents that were encoded in more than one
  double seconds = 0;
};

/// Whether a document is kept from training: by the hash of its text (of the first piece of a long one), so that copies
/// of a document are on one side, today and when the data is made again.
bool is_held_out(const TextDocument& document, double share);

/// `progress` gets the bytes read; it stops the work by returning false.
Result<BuildReport> build_store(const std::string& path, const Tokenizer& tokenizer, const BuildConfig& config,
                                const std::function<bool(uint64_t)>& progress = {});

}  // namespace vibee
