// SPDX-License-Identifier: Apache-2.0
// Texts of plain words with a stated number of tokens, different for every seed, equal for the same one.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "vibee/base/status/status.h"
#include "vibee/model/token/tokenizer.h"

namespace vibee {

class Prompts {
 public:
  /// With the tokenizer of the server's model (it must outlive this) texts have exactly the tokens asked for; with
  /// nullptr that many common words, most of which are one token in most vocabularies. An error when the vocabulary has
  /// hardly any of these words as one token.
  static Result<Prompts> create(const Tokenizer* tokenizer);

  /// A text of `tokens` tokens. One that does not begin a prompt continues another: it begins with a space.
  std::string text(uint32_t tokens, bool begins, uint64_t seed) const;

 private:
  std::vector<std::string_view> words_;
};

}  // namespace vibee
