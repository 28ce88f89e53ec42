// SPDX-License-Identifier: Apache-2.0
// What a model file says about its tokenizer: plain data between the file readers and the tokenizers.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace vibee {

struct TokenizerSpec {
  std::string model;  ///< "gpt2" (byte-level BPE) or "llama" (SentencePiece BPE)
  std::string pre;    ///< pre-tokenizer of "gpt2": "smollm", "gpt-2", "default", ...
  std::vector<std::string> tokens;
  std::vector<float> scores;        ///< one a token; "llama" only
  std::vector<uint8_t> types;       ///< one a token (TokenType); empty: all normal
  std::vector<std::string> merges;  ///< "left right", best first; "gpt2" only
  int32_t bos = -1, eos = -1, eot = -1, unk = -1, pad = -1;
  bool add_bos = false, add_eos = false;
  bool add_space_prefix = true;  ///< "llama" only
  std::string chat_template;
};

}  // namespace vibee
