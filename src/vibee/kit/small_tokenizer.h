// SPDX-License-Identifier: Apache-2.0
// A SentencePiece tokenizer of all bytes, the given pieces and an end token, for tests that need no real vocabulary.
#pragma once

#include <fmt/format.h>

#include <memory>
#include <string>
#include <vector>

#include "vibee/model/token/tokenizer.h"

namespace vibee {

/// Ids: <unk>, </s>, the bytes 0 to 255, the pieces. Bytes of `missing` have no token of their own.
inline std::unique_ptr<Tokenizer> small_tokenizer(const std::vector<std::string>& pieces,
                                                  const std::string& missing = {}) {
  TokenizerSpec spec;
  spec.model = "llama";
  const auto add = [&](std::string text, TokenType type) {
    spec.tokens.push_back(std::move(text));
    spec.types.push_back(uint8_t(type));
    spec.scores.push_back(-double(spec.tokens.size()));
  };
  add("<unk>", TokenType::unknown);
  add("</s>", TokenType::control);
  for (uint32_t b = 0; b < 256; ++b) {
    const bool there = missing.find(char(b)) == std::string::npos;
    add(there ? fmt::format("<0x{:02X}>", b) : fmt::format("<unused{}>", b),
        there ? TokenType::byte : TokenType::unused);
  }
  for (const std::string& piece : pieces) {
    std::string text;
    for (const char c : piece) text += c == ' ' ? "\xe2\x96\x81" : std::string(1, c);
    add(std::move(text), TokenType::normal);
  }
  spec.unk = 0;
  spec.eos = 1;
  auto made = make_tokenizer(std::move(spec));
  VIBEE_CHECK(made.ok(), "{}", made.status().message());
  return std::move(*made);
}

}  // namespace vibee
