// SPDX-License-Identifier: Apache-2.0
// Pre-tokenizers of byte-level BPE: which stretches of text merges may not cross. A pre-tokenizer is a row: its GGUF
// name (tokenizer.ggml.pre) and one or more patterns, each of which splits the pieces the one before left. Sources:
// GPT-2's encoder.py, the tokenizer.json files of the models named, and the table of names in llama.cpp.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "vibee/base/status/status.h"

namespace vibee {

class PreTokenizer {
 public:
  /// Code::unsupported, naming what is known, for a name without a row.
  static Result<PreTokenizer> make(std::string_view name);
  PreTokenizer(PreTokenizer&&) noexcept;
  PreTokenizer& operator=(PreTokenizer&&) noexcept;
  ~PreTokenizer();

  /// Appends the words of `text` in order; together they are the text, byte for byte, valid UTF-8 or not.
  Status split(std::string_view text, std::vector<std::string_view>* words) const;
  /// A word that is a token as a whole is taken without merging.
  bool whole_words() const { return whole_words_; }
  /// Whether models of this kind put BOS first when their file does not say.
  bool adds_bos() const { return adds_bos_; }
  static std::string known_names();

 private:
  struct Pattern;
  PreTokenizer();
  std::vector<std::unique_ptr<Pattern>> patterns_;
  bool whole_words_ = false;
  bool adds_bos_ = false;
};

}  // namespace vibee
