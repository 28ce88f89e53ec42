// SPDX-License-Identifier: Apache-2.0
// The tokenizer.* keys of a GGUF file as a TokenizerSpec. Defaults for what a file leaves out are those of llama.cpp's
// llama_vocab::impl::load, because files rely on them.
#include <algorithm>
#include <array>

#include "vibee/base/text/quote.h"
#include "vibee/model/token/tokenizer_json.h"
#include "vibee/model/weight/checkpoint.h"

namespace vibee {
namespace {

// Byte-level vocabularies that start with BOS when the file does not say.
constexpr std::array<std::string_view, 12> kPreWithBos = {"llama3",       "llama-v3", "llama-bpe", "falcon3",
                                                          "falcon-h1",    "pixtral",  "midm-2.0",  "lfm2",
                                                          "jina-v5-nano", "tekken",   "chameleon", "gemma4"};

Status bad(const Checkpoint& file, std::string_view key, std::string_view what) {
  return error(Code::corrupt, "{}: key {} {}", quote(file.path(), 400), quote(key), what);
}

Status read_id(const Checkpoint& file, std::string_view key, size_t vocabulary, int32_t& id) {
  if (file.has(key)) {
    VIBEE_ASSIGN(const int64_t v, file.get_i64(key));
    if (v == -1) {
      id = -1;
    } else if (v < 0 || uint64_t(v) >= vocabulary) {
      return bad(file, key, fmt::format("is {}, the vocabulary has {} tokens", v, vocabulary));
    } else {
      id = int32_t(v);
    }
  } else if (id >= 0 && uint64_t(id) >= vocabulary) {
    id = -1;  // a default that this vocabulary is too small for
  }
  return {};
}

Status check_length(const Checkpoint& file, std::string_view key, size_t have, size_t tokens) {
  if (have == tokens) return {};
  return bad(file, key, fmt::format("has {} elements for {} tokens; the file is damaged", have, tokens));
}

Status read_types(const Checkpoint& file, TokenizerSpec& spec) {
  constexpr std::string_view kKey = "tokenizer.ggml.token_type";
  if (!file.has(kKey)) return {};
  VIBEE_ASSIGN(const std::vector<int32_t> types, file.get_ints(kKey));
  VIBEE_TRY(check_length(file, kKey, types.size(), spec.tokens.size()));
  for (size_t i = 0; i < types.size(); ++i) {
    if (types[i] < 0 || types[i] > 6)
      return bad(file, kKey, fmt::format("gives token {} the unknown type {}", i, types[i]));
    spec.types.push_back(uint8_t(types[i]));
  }
  return {};
}

/// tokenizer.json of a directory, with what tokenizer_config.json and chat_template.jinja add where they exist.
Result<TokenizerSpec> read_directory(const Checkpoint& file) {
  const auto path = [&](std::string_view name) { return file.path() + "/" + std::string(name); };
  VIBEE_ASSIGN(const std::string json, file.side_file("tokenizer.json"));
  VIBEE_ASSIGN(TokenizerSpec spec, read_tokenizer_json(json, path("tokenizer.json")));
  if (auto config = file.side_file("tokenizer_config.json"); config.ok()) {
    VIBEE_TRY(read_tokenizer_config(*config, path("tokenizer_config.json"), &spec));
  } else if (config.status().code() != Code::not_found) {
    return config.take_status();
  }
  if (auto text = file.side_file("chat_template.jinja"); text.ok()) {
    spec.chat_template = std::move(*text);
  } else if (text.status().code() != Code::not_found) {
    return text.take_status();
  }
  return spec;
}

Result<TokenizerSpec> read_file(const Checkpoint& file) {
  TokenizerSpec spec;
  VIBEE_ASSIGN(spec.model, file.get_string("tokenizer.ggml.model"));
  VIBEE_ASSIGN(spec.pre, file.get_string_or("tokenizer.ggml.pre", ""));
  const bool pieces = spec.model == "llama", bytes = spec.model == "gpt2", words = spec.model == "bert";
  const bool unigram = spec.model == "t5";
  if (!pieces && !bytes && !words && !unigram) {
    return error(Code::unsupported, "{}: key \"tokenizer.ggml.model\" is {}; readable: gpt2 llama bert t5",
                 quote(file.path(), 400), quote(spec.model));
  }
  VIBEE_ASSIGN(spec.tokens, file.get_strings("tokenizer.ggml.tokens"));
  const size_t vocabulary = spec.tokens.size();
  if (vocabulary == 0 || vocabulary > size_t(INT32_MAX)) {
    return bad(file, "tokenizer.ggml.tokens", fmt::format("has {} tokens", vocabulary));
  }
  if (pieces || unigram || file.has("tokenizer.ggml.scores")) {
    VIBEE_ASSIGN(const std::vector<float> scores, file.get_floats("tokenizer.ggml.scores"));
    spec.scores.assign(scores.begin(), scores.end());
    VIBEE_TRY(check_length(file, "tokenizer.ggml.scores", spec.scores.size(), vocabulary));
  }
  VIBEE_TRY(read_types(file, spec));
  if (bytes) {
    VIBEE_ASSIGN(const std::vector<std::string> merges, file.get_strings("tokenizer.ggml.merges"));
    spec.merges.reserve(merges.size());
    for (const std::string& merge : merges) spec.merges.push_back(merge_of(merge));
  }

  if (pieces) {
    spec.bos = 1;
    spec.eos = 2;
    spec.unk = 0;
  } else if (words) {  // [CLS], [SEP], [UNK], [PAD] of BERT's vocabulary
    spec.bos = 101;
    spec.eos = 102;
    spec.unk = 100;
    spec.pad = 0;
  } else if (unigram) {
    spec.eos = 1;
    spec.unk = 2;
    spec.pad = 0;
  } else {
    spec.bos = spec.eos = 11;
  }
  spec.add_bos = pieces || words || std::find(kPreWithBos.begin(), kPreWithBos.end(), spec.pre) != kPreWithBos.end();
  spec.add_space_prefix = pieces || unigram;
  VIBEE_TRY(read_id(file, "tokenizer.ggml.bos_token_id", vocabulary, spec.bos));
  VIBEE_TRY(read_id(file, "tokenizer.ggml.eos_token_id", vocabulary, spec.eos));
  VIBEE_TRY(read_id(file, "tokenizer.ggml.eot_token_id", vocabulary, spec.eot));
  VIBEE_TRY(read_id(file, "tokenizer.ggml.unknown_token_id", vocabulary, spec.unk));
  VIBEE_TRY(read_id(file, "tokenizer.ggml.padding_token_id", vocabulary, spec.pad));
  VIBEE_ASSIGN(spec.add_bos, file.get_bool_or("tokenizer.ggml.add_bos_token", spec.add_bos));
  VIBEE_ASSIGN(spec.add_eos, file.get_bool_or("tokenizer.ggml.add_eos_token", words || unigram));
  VIBEE_ASSIGN(spec.add_space_prefix, file.get_bool_or("tokenizer.ggml.add_space_prefix", spec.add_space_prefix));
  if (file.has("tokenizer.ggml.precompiled_charsmap")) {
    VIBEE_ASSIGN(const std::vector<int32_t> map, file.get_ints("tokenizer.ggml.precompiled_charsmap"));
    for (const int32_t byte : map) spec.charsmap += char(byte);
  }
  VIBEE_ASSIGN(spec.chat_template, file.get_string_or("tokenizer.chat_template", ""));
  return spec;
}

}  // namespace

Result<TokenizerSpec> read_tokenizer(const Checkpoint& file) {
  const bool directory = file.is_directory() && !file.has("tokenizer.ggml.model");
  VIBEE_ASSIGN(TokenizerSpec spec, directory ? read_directory(file) : read_file(file));
  if (file.has("vibee.eos_token_ids")) {
    VIBEE_ASSIGN(spec.ends, file.get_ints("vibee.eos_token_ids"));
  }
  return spec;
}

void put_tokenizer(const TokenizerSpec& spec, GgufMetadata* metadata) {
  const auto key = [&](std::string_view name) -> GgufValue& {
    return (*metadata)[fmt::format("tokenizer.ggml.{}", name)];
  };
  std::erase_if(*metadata, [](const auto& row) { return row.first.starts_with("tokenizer."); });
  key("model") = gguf_text(spec.model);
  key("pre") = gguf_text(spec.pre.empty() ? "default" : spec.pre);
  key("tokens") = gguf_texts(spec.tokens);
  if (!spec.scores.empty()) key("scores") = gguf_floats(spec.scores);
  if (!spec.types.empty()) key("token_type") = gguf_ints(spec.types);
  if (spec.model == "gpt2") {
    std::vector<std::string> merges;
    for (const TokenMerge& merge : spec.merges) merges.push_back(fmt::format("{} {}", merge.left(), merge.right()));
    key("merges") = gguf_texts(merges);
  }
  const std::pair<std::string_view, int32_t> ids[] = {{"bos_token_id", spec.bos},
                                                      {"eos_token_id", spec.eos},
                                                      {"eot_token_id", spec.eot},
                                                      {"unknown_token_id", spec.unk},
                                                      {"padding_token_id", spec.pad}};
  for (const auto& [name, id] : ids)
    if (id >= 0) key(name) = gguf_u32(uint32_t(id));
  key("add_bos_token") = gguf_bool(spec.add_bos);
  key("add_eos_token") = gguf_bool(spec.add_eos);
  if (spec.model == "llama" || spec.model == "t5") key("add_space_prefix") = gguf_bool(spec.add_space_prefix);
  if (!spec.charsmap.empty()) key("precompiled_charsmap") = gguf_bytes(spec.charsmap);
  if (!spec.chat_template.empty()) (*metadata)["tokenizer.chat_template"] = gguf_text(spec.chat_template);
}

}  // namespace vibee
