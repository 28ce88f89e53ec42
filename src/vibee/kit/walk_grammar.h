// SPDX-License-Identifier: Apache-2.0
// For fuzz targets: a text of a grammar by choices that depend on the source alone.
#pragma once

#include <bit>
#include <cstdlib>
#include <string>

#include "vibee/base/random/philox.h"
#include "vibee/kit/small_tokenizer.h"
#include "vibee/serve/grammar/grammar.h"

namespace vibee {

inline void walk_grammar(GrammarSource::Kind kind, const std::string& text) {
  static const auto trie = std::make_shared<const TokenTrie>(*small_tokenizer(
      {"true", "null", "\": \"", "\",\"", "\"}", "ab", "aa", "12", "[[", "]]", "{\"", "  ", "\xc3\xa9\xc3"}, "x"));
  const auto grammar = Grammar::compile({kind, text}, trie);
  if (!grammar.ok()) {
    if (grammar.status().message().find('\n') != std::string::npos) std::abort();
    return;
  }
  RandomStream random(text.size(), Purpose::test);
  GrammarState state(*grammar);
  for (int step = 0; step < 40 && !state.ended(); ++step) {
    const std::span<const uint64_t> mask = state.mask();
    uint32_t count = 0;
    for (const uint64_t word : mask) count += uint32_t(std::popcount(word));
    if (count == 0) std::abort();
    uint32_t chosen = random.below(count);
    int32_t token = -1;
    for (uint32_t i = 0; token < 0; ++i) {
      for (uint64_t word = mask[i]; word != 0 && token < 0; word &= word - 1)
        if (chosen-- == 0) token = int32_t(i * 64) + std::countr_zero(word);
    }
    if (!state.accept(token)) std::abort();
  }
}

}  // namespace vibee
