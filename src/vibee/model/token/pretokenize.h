// SPDX-License-Identifier: Apache-2.0
// The pre-tokenizers of a TokenizerSpec, compiled: they cut a text into words, which the model looks at one by one.
#pragma once

#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "vibee/model/token/regex.h"
#include "vibee/model/token/tokenizer_spec.h"

namespace vibee {

/// The words of one text. They are views into the text, or into the buffers of steps that change it.
struct Words {
  std::vector<std::string_view> list;
  std::deque<std::string> buffers;
};

class PreTokenizer {
 public:
  static Result<PreTokenizer> make(const std::vector<PreTokenizerStep>& steps);
  bool empty() const { return steps_.empty(); }

  /// Fills `words` with the words of `text` in order. A run of bytes that are not UTF-8 is a word of its own. `first`:
  /// nothing stands before `text`.
  Status split(std::string_view text, bool first, Words* words) const;

 private:
  struct Step {
    PreTokenizerStep what;
    std::optional<Regex> regex = {};
  };
  PreTokenizer() = default;
  Status add(PreTokenizerStep step, std::string pattern);
  static Status cut(const Step& step, std::string_view word, std::vector<std::string_view>* out);
  static void put_prefixes(const PreTokenizerStep& step, bool first, Words* words);
  std::vector<Step> steps_;
};

}  // namespace vibee
