// SPDX-License-Identifier: Apache-2.0
// Token ids back to text, one at a time: a character whose bytes come in several tokens is held back until it is whole,
// so that whatever is sent on is valid UTF-8.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "vibee/model/token/tokenizer.h"

namespace vibee {

class StreamDecoder {
 public:
  /// Continues a text; with `at_start` the space that encoding puts before a text is taken off the first token. The
  /// tokenizer must outlive the decoder. Control tokens appear only with `show_special`.
  explicit StreamDecoder(const Tokenizer& tokenizer, bool show_special = false, bool at_start = false)
      : tokenizer_(&tokenizer), show_special_(show_special), strip_(at_start && tokenizer.adds_space_prefix()) {}

  /// Control tokens that count as text all the same.
  void speak(std::vector<int32_t> controls) { spoken_ = std::move(controls); }
  /// The whole characters that `id` completes; bytes that can no longer become one come out as U+FFFD.
  std::string push(int32_t id);
  /// What is held back, as U+FFFD; afterwards the decoder is as new, but no longer at the start.
  std::string finish();

 private:
  const Tokenizer* tokenizer_;
  bool show_special_;
  bool strip_;
  std::string held_;
  std::vector<int32_t> spoken_;
};

/// The text of `ids`, control tokens left out.
std::string decode(const Tokenizer& tokenizer, std::span<const int32_t> ids);

/// `text` with every maximal part that is not UTF-8 as U+FFFD (the practice Unicode recommends).
std::string valid_utf8(std::string_view text);

}  // namespace vibee
