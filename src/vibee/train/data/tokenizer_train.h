// SPDX-License-Identifier: Apache-2.0
// A tokenizer of texts: byte-level BPE, or one token a character. The result depends on the texts and the options
// alone, not on threads.
#pragma once

#include "vibee/model/token/tokenizer_spec.h"
#include "vibee/train/data/document_scan.h"

namespace vibee {

struct TokenizerTraining {
  DocumentScan scan;
  bool characters = false;    ///< a token a character of the texts; one beyond ASCII has its bytes beside it
  std::string pre = "gpt-2";  ///< GGUF name of the pre-tokenizer (gguf_pre.cc); it must cut bytes
  std::vector<std::string> special = {"<|endoftext|>"};  ///< ids 0, 1, ...; the first ends a text
  size_t vocabulary = 8192;                              ///< ids in all
  uint64_t least = 2;                                    ///< how often a pair must occur to be joined
};

struct TrainedTokenizer {
  TokenizerSpec spec;
  uint64_t read = 0;   ///< bytes of the texts
  uint64_t words = 0;  ///< that differ
  double count_seconds = 0, merge_seconds = 0;
};

/// `stage` and how far it is: bytes read, then ids made; stops the work by returning false.
using TrainProgress = std::function<bool(std::string_view stage, uint64_t done)>;
Result<TrainedTokenizer> train_tokenizer(const TokenizerTraining& config, const TrainProgress& progress = {});

}  // namespace vibee
