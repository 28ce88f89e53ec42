// SPDX-License-Identifier: Apache-2.0
// Any bytes as tokenizer metadata and a text. Lines before an empty line: model, pre-tokenizer, then tokens as
// "type score text"; "+left right" is a merge. What follows is the text. Byte-level ids must give the text back.
#include <cstdlib>

#include "vibee/model/token/detokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  const auto line = [&] {
    const std::string_view one = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), one.size() + 1));
    return one;
  };
  vibee::TokenizerSpec spec;
  spec.model = line();
  spec.pre = line();
  spec.add_space_prefix = size % 2 == 0;
  for (std::string_view one = line(); !one.empty(); one = line()) {
    if (one[0] == '+') {
      spec.merges.push_back(vibee::merge_of(one.substr(1)));
      continue;
    }
    spec.types.push_back(uint8_t(one[0] - '0'));
    spec.scores.push_back(one.size() > 1 ? float(int8_t(one[1])) : 0.0f);
    spec.tokens.emplace_back(one.substr(std::min<size_t>(one.size(), 2)));
  }
  spec.unk = size % 3 == 0 ? 0 : -1;
  spec.eos = spec.tokens.empty() ? -1 : int32_t(size % spec.tokens.size());
  const bool characters = spec.pre == "gemma4" || spec.pre == "granite-embed-multi-311m" || spec.pre == "sarvam-moe" ||
                          spec.pre == "whitespace";
  const bool bytes = spec.model == "gpt2" && !characters;
  const auto made = vibee::make_tokenizer(std::move(spec));
  if (!made.ok()) return 0;
  for (const bool special : {false, true}) {
    std::vector<int32_t> ids;
    if (!(*made)->encode(rest, special, &ids).ok()) continue;
    std::string pieces;
    bool unknown = false;
    for (const int32_t id : ids) {
      if (id < 0 || id >= (*made)->size()) std::abort();
      unknown |= (*made)->type(id) == vibee::TokenType::unknown;
      pieces += (*made)->piece(id);
    }
    if (bytes && !unknown && pieces != rest) std::abort();
    const std::string text = vibee::decode(**made, ids);
    if (vibee::valid_utf8(text) != text) std::abort();
  }
  return 0;
}
