// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/token/tokenizer_json_write.h"

#include <algorithm>
#include <unordered_map>

#include "vibee/base/text/json_object.h"
#include "vibee/base/text/quote.h"
#include "vibee/model/token/decode_token.h"
#include "vibee/model/token/gguf_pre.h"
#include "vibee/model/token/spm_merges.h"
#include "vibee/model/token/tokenizer.h"
#include "vibee/model/token/utf8.h"

namespace vibee {
namespace {

TokenType type_of(const TokenizerSpec& spec, size_t id) {
  return spec.types.empty() ? TokenType::normal : TokenType(spec.types[id]);
}

/// A list of steps as tokenizer.json nests them.
std::string steps_json(const std::vector<std::string>& steps, std::string_view list) {
  if (steps.empty()) return "null";
  if (steps.size() == 1) return steps[0];
  return JsonObject().text("type", "Sequence").raw(list, json_array(steps)).str();
}

class Writer {
 public:
  explicit Writer(const TokenizerSpec& spec) : spec_(spec), outside_(spec.tokens.size()) {
    for (const AddedToken& token : spec.added) outside_[size_t(token.id)] = token.outside_model;
  }

  Result<std::string> tokenizer() {
    VIBEE_TRY(check_texts());
    VIBEE_ASSIGN(const std::string model, this->model());
    const PipelineJson pipeline = pipeline_json(spec_);
    std::string post = "null";
    if (!spec_.single.empty() || !spec_.pair.empty() || spec_.add_bos || spec_.add_eos) post = post_processor();
    return JsonObject()
               .text("version", "1.0")
               .raw("truncation", "null")
               .raw("padding", "null")
               .raw("added_tokens", added_tokens())
               .raw("normalizer", steps_json(pipeline.normalizers, "normalizers"))
               .raw("pre_tokenizer", steps_json(pipeline.pre_tokenizers, "pretokenizers"))
               .raw("post_processor", post)
               .raw("decoder", steps_json(pipeline.decoders, "decoders"))
               .raw("model", model)
               .str() +
           "\n";
  }

  std::string config() const {
    JsonObject out;
    out.text("tokenizer_class", "PreTrainedTokenizerFast");
    put_names(&out);
    const bool typed =
        std::any_of(spec_.pair.begin(), spec_.pair.end(), [](const TemplatePart& p) { return p.type_id > 0; });
    if (typed) out.raw("model_input_names", R"(["input_ids", "token_type_ids", "attention_mask"])");
    return out.boolean("add_bos_token", spec_.add_bos)
               .boolean("add_eos_token", spec_.add_eos)
               .boolean("clean_up_tokenization_spaces", false)
               .str() +
           "\n";
  }

  std::string special_tokens() const {
    JsonObject out;
    put_names(&out);
    return out.str() + "\n";
  }

 private:
  const std::string& text(int32_t id) const { return spec_.tokens[size_t(id)]; }
  bool in_model(size_t id) const { return !outside_[id] && !is_filler(spec_, id); }

  void put_names(JsonObject* out) const {
    const std::pair<const char*, int32_t> ids[] = {
        {"bos_token", spec_.bos}, {"eos_token", spec_.eos}, {"unk_token", spec_.unk}, {"pad_token", spec_.pad}};
    for (const auto& [key, id] : ids)
      if (id >= 0) out->text(key, text(id));
  }

  Status check_texts() {
    ids_.reserve(spec_.tokens.size());
    for (size_t i = 0; i < spec_.tokens.size(); ++i) {
      const std::string_view text = spec_.tokens[i];
      for (size_t at = 0; at < text.size();) {
        const Utf8Step step = utf8_step(text.substr(at));
        if (step.kind != Utf8Step::character)
          return error(Code::unsupported, "token {} is {}, which is not UTF-8; tokenizer.json cannot say it", i,
                       quote(text, 64));
        at += step.length;
      }
      if (is_filler(spec_, i)) continue;
      const auto [at, fresh] = ids_.try_emplace(text, i);
      if (!fresh && spec_.algorithm != TokenModel::unigram)  // whose vocabulary is a list
        return error(Code::unsupported, "tokens {} and {} are both {}; tokenizer.json has one of a text", at->second, i,
                     quote(text, 64));
    }
    return {};
  }

  std::string added_tokens() const {
    std::vector<AddedToken> rules(spec_.tokens.size());
    std::vector<bool> listed(spec_.tokens.size());
    for (const AddedToken& token : spec_.added) {
      rules[size_t(token.id)] = token;
      listed[size_t(token.id)] = true;
    }
    std::vector<std::string> list;
    for (size_t i = 0; i < rules.size(); ++i) {
      const TokenType type = type_of(spec_, i);
      const bool special = type == TokenType::control || type == TokenType::unknown;
      if (!listed[i] && !special && type != TokenType::user_defined) continue;
      list.push_back(JsonObject()
                         .integer("id", i)
                         .text("content", spec_.tokens[i])
                         .boolean("single_word", rules[i].single_word)
                         .boolean("lstrip", rules[i].lstrip)
                         .boolean("rstrip", rules[i].rstrip)
                         .boolean("normalized", rules[i].normalized)
                         .boolean("special", special)
                         .str());
    }
    return json_array(list);
  }

  std::string post_processor() const {
    std::vector<TemplatePart> single = spec_.single, pair = spec_.pair;
    const auto around = [&](int32_t sequence, std::vector<TemplatePart>* parts) {
      if (spec_.add_bos) parts->push_back({.id = spec_.bos, .type_id = sequence});
      parts->push_back({.sequence = sequence, .type_id = sequence});
      if (spec_.add_eos) parts->push_back({.id = spec_.eos, .type_id = sequence});
    };
    if (single.empty()) around(0, &single);
    if (pair.empty()) around(0, &pair), around(1, &pair);
    JsonObject specials;
    std::vector<int32_t> named;
    const auto list = [&](const std::vector<TemplatePart>& parts) {
      std::vector<std::string> out;
      for (const TemplatePart& part : parts) {
        const bool token = part.id >= 0;
        const std::string_view name = token ? std::string_view(text(part.id)) : part.sequence == 0 ? "A" : "B";
        const std::string what = JsonObject().text("id", name).integer("type_id", part.type_id).str();
        out.push_back(JsonObject().raw(token ? "SpecialToken" : "Sequence", what).str());
        if (!token || std::find(named.begin(), named.end(), part.id) != named.end()) continue;
        named.push_back(part.id);
        specials.raw(name, JsonObject()
                               .text("id", name)
                               .raw("ids", fmt::format("[{}]", part.id))
                               .raw("tokens", json_array({json_quote(name)}))
                               .str());
      }
      return json_array(out);
    };
    const std::string a = list(single), b = list(pair);
    return JsonObject()
        .text("type", "TemplateProcessing")
        .raw("single", a)
        .raw("pair", b)
        .raw("special_tokens", specials.str())
        .str();
  }

  std::string vocabulary() const {
    JsonObject out;
    for (size_t i = 0; i < spec_.tokens.size(); ++i)
      if (in_model(i)) out.integer(spec_.tokens[i], i);
    return out.str();
  }

  /// [text, score] in the order of ids: what stands between tokens of the model stays.
  std::string scored_vocabulary() const {
    size_t count = spec_.tokens.size();
    while (count > 0 && !in_model(count - 1)) --count;
    std::vector<std::string> rows;
    for (size_t i = 0; i < count; ++i)
      rows.push_back(json_array({json_quote(spec_.tokens[i]), json_number(spec_.scores[i])}));
    return json_array(rows);
  }

  Result<std::string> merges() const {
    std::vector<TokenMerge> merges;
    if (spec_.algorithm == TokenModel::spm) {
      std::vector<bool> usable(spec_.tokens.size());
      for (size_t i = 0; i < usable.size(); ++i) {
        const TokenType type = type_of(spec_, i);
        usable[i] = type != TokenType::control && type != TokenType::unknown && type != TokenType::byte &&
                    byte_of(spec_.tokens[i]) < 0 && !is_filler(spec_, i);
      }
      VIBEE_ASSIGN(merges, merges_of_scores(spec_.tokens, spec_.scores, usable));
    }
    std::string out;
    for (const TokenMerge& merge : spec_.algorithm == TokenModel::spm ? merges : spec_.merges) {
      for (const std::string_view text : {merge.left(), merge.right(), std::string_view(merge.both)}) {
        const auto at = ids_.find(text);
        if (at == ids_.end() || !in_model(at->second))
          return error(Code::unsupported, "a merge names {}, which is no token; tokenizer.json cannot say it",
                       quote(text, 64));
      }
      out += (out.empty() ? "[" : ", [") + json_quote(merge.left()) + ", " + json_quote(merge.right()) + "]";
    }
    return "[" + out + "]";
  }

  Result<std::string> model() const {
    const bool bytes =
        !spec_.pre_tokenizers.empty() && spec_.pre_tokenizers.back().kind == PreTokenizerStep::byte_level;
    // A byte without a token is unknown only where the vocabulary says so (bpe.cc).
    const bool unknown = spec_.unk >= 0 && (!bytes || type_of(spec_, size_t(spec_.unk)) == TokenType::unknown);
    const std::string unk = unknown ? json_quote(text(spec_.unk)) : "null";
    JsonObject out;
    switch (spec_.algorithm) {
      case TokenModel::bpe:
      case TokenModel::spm: {
        VIBEE_ASSIGN(const std::string merges, this->merges());
        return out.text("type", "BPE")
            .raw("dropout", "null")
            .raw("unk_token", unk)
            .raw("continuing_subword_prefix", "null")
            .raw("end_of_word_suffix", "null")
            .boolean("fuse_unk", spec_.fuse_unknown || spec_.algorithm == TokenModel::spm)
            .boolean("byte_fallback", spec_.byte_fallback)
            .boolean("ignore_merges", spec_.whole_words)
            .raw("vocab", vocabulary())
            .raw("merges", merges)
            .str();
      }
      case TokenModel::unigram:
        return out.text("type", "Unigram")
            .raw("unk_id", spec_.unk >= 0 ? std::to_string(spec_.unk) : "null")
            .raw("vocab", scored_vocabulary())
            .boolean("byte_fallback", spec_.byte_fallback)
            .str();
      case TokenModel::wordpiece:
        return out.text("type", "WordPiece")
            .text("unk_token", spec_.unk >= 0 ? text(spec_.unk) : "[UNK]")
            .text("continuing_subword_prefix", spec_.subword_prefix)
            .integer("max_input_chars_per_word", spec_.longest_word)
            .raw("vocab", vocabulary())
            .str();
      case TokenModel::wordlevel: break;
    }
    return out.text("type", "WordLevel")
        .raw("vocab", vocabulary())
        .text("unk_token", spec_.unk >= 0 ? text(spec_.unk) : "[UNK]")
        .str();
  }

  const TokenizerSpec& spec_;
  std::vector<bool> outside_;
  std::unordered_map<std::string_view, size_t> ids_;
};

}  // namespace

bool is_filler(const TokenizerSpec& spec, size_t id) {
  return type_of(spec, id) == TokenType::unused &&
         (spec.tokens[id].empty() || spec.tokens[id] == fmt::format("[PAD{}]", id));
}

Result<std::vector<TokenizerFile>> write_tokenizer_files(TokenizerSpec spec) {
  VIBEE_TRY(expand_gguf(&spec));
  Writer writer(spec);
  VIBEE_ASSIGN(std::string tokenizer, writer.tokenizer());
  std::vector<TokenizerFile> files = {{"tokenizer.json", std::move(tokenizer)},
                                      {"tokenizer_config.json", writer.config()},
                                      {"special_tokens_map.json", writer.special_tokens()}};
  if (!spec.chat_template.empty()) files.push_back({"chat_template.jinja", spec.chat_template});
  return files;
}

}  // namespace vibee
