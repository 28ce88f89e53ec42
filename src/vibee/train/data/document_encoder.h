// SPDX-License-Identifier: Apache-2.0
// Documents -> ids, and for conversations which of them are an answer that is to be learnt.
#pragma once

#include <optional>

#include "vibee/train/data/documents.h"
#include "vibee/train/data/token_store.h"

namespace vibee {

class DocumentEncoder {
 public:
  /// `special`: control tokens spelled in a text count as such. The tokenizer must outlive this.
  static Result<DocumentEncoder> make(const Tokenizer& tokenizer, bool special);
  /// A text gets BOS where its model adds one, and EOS behind its end where there is one. A conversation is what the
  /// model's own template makes of it; its answers are learnt, each up to the token that ends it. For any number of
  /// threads.
  Status encode(const TextDocument& document, TokenDocument* out) const;

 private:
  DocumentEncoder(const Tokenizer& tokenizer, bool special) : tokenizer_(&tokenizer), special_(special) {}
  Status encode_text(const TextDocument& document, TokenDocument* out) const;
  Status encode_chat(const std::vector<ChatMessage>& messages, TokenDocument* out) const;

  const Tokenizer* tokenizer_;
  bool special_;
  std::optional<ChatTemplate> template_;
};

}  // namespace vibee
