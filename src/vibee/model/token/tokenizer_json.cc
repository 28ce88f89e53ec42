// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/token/tokenizer_json.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "vibee/base/text/quote.h"
#include "vibee/model/token/tokenizer.h"

namespace vibee {
namespace {

using Json = nlohmann::json;

constexpr int kMaxDepth = 16;
constexpr size_t kMaxSteps = 256;
constexpr size_t kMaxTokens = size_t(1) << 24;

Status wrong(std::string_view where, std::string_view key, std::string_view what) {
  return error(Code::corrupt, "{}: field {} {}", where, quote(key), what);
}

Status unsupported(std::string_view where, std::string_view key, std::string_view what) {
  return error(Code::unsupported, "{}: field {}: {} is not supported", where, quote(key), what);
}

const Json& at(const Json& j, const char* key) {
  static const Json kNull;
  const auto it = j.is_object() ? j.find(key) : j.end();
  return j.is_object() && it != j.end() ? *it : kNull;
}

Result<std::string> text_of(const Json& j, const char* key, const std::string& where) {
  const Json& v = at(j, key);
  if (!v.is_string()) return wrong(where, key, "is not a string");
  return v.get<std::string>();
}

Result<bool> flag_of(const Json& j, const char* key, bool otherwise, const std::string& where) {
  const Json& v = at(j, key);
  if (v.is_null()) return otherwise;
  if (!v.is_boolean()) return wrong(where, key, "is not true or false");
  return v.get<bool>();
}

Result<int32_t> integer_of(const Json& v, const char* key, int64_t low, int64_t high, const std::string& where) {
  if (!v.is_number_integer()) return wrong(where, key, "is not an integer");
  if (v.is_number_unsigned() ? v.get<uint64_t>() > uint64_t(high) : (v.get<int64_t>() < low || v.get<int64_t>() > high))
    return wrong(where, key, fmt::format("is {}, outside {} to {}", v.dump(), low, high));
  return int32_t(v.get<int64_t>());
}

/// {"String": "x"} or {"Regex": "x"}.
Status pattern_of(const Json& j, const std::string& where, std::string* pattern, bool* is_regex) {
  const Json& p = at(j, "pattern");
  *is_regex = !at(p, "Regex").is_null();
  VIBEE_ASSIGN(*pattern, text_of(p, *is_regex ? "Regex" : "String", where));
  return {};
}

Result<SplitBehavior> behavior_of(const Json& j, const std::string& where) {
  if (at(j, "behavior").is_null()) return SplitBehavior::isolated;
  VIBEE_ASSIGN(const std::string name, text_of(j, "behavior", where));
  if (name == "Removed") return SplitBehavior::removed;
  if (name == "Isolated") return SplitBehavior::isolated;
  if (name == "MergedWithPrevious") return SplitBehavior::merged_with_previous;
  if (name == "MergedWithNext") return SplitBehavior::merged_with_next;
  if (name == "Contiguous") return SplitBehavior::contiguous;
  return unsupported(where, "behavior", quote(name));
}

Result<PrependScheme> prepend_of(const Json& j, const std::string& where) {
  if (at(j, "prepend_scheme").is_null()) {
    VIBEE_ASSIGN(const bool prefix, flag_of(j, "add_prefix_space", true, where));
    return prefix ? PrependScheme::always : PrependScheme::never;
  }
  VIBEE_ASSIGN(const std::string name, text_of(j, "prepend_scheme", where));
  if (name == "always") return PrependScheme::always;
  if (name == "first") return PrependScheme::first;
  if (name == "never") return PrependScheme::never;
  return unsupported(where, "prepend_scheme", quote(name));
}

std::string from_base64(std::string_view text) {
  std::string out;
  uint32_t bits = 0;
  int have = 0;
  for (const char c : text) {
    const int v = c >= 'A' && c <= 'Z'   ? c - 'A'
                  : c >= 'a' && c <= 'z' ? c - 'a' + 26
                  : c >= '0' && c <= '9' ? c - '0' + 52
                  : c == '+'             ? 62
                  : c == '/'             ? 63
                                         : -1;
    if (v < 0) break;
    bits = bits << 6 | uint32_t(v);
    have += 6;
    if (have >= 8) out += char(bits >> (have -= 8) & 0xff);
  }
  return out;
}

/// Calls `one(step, type)` for a step or, in order, for those of a Sequence, whose list is `list`.
template <class One>
Status each_step(const Json& j, const char* list, const std::string& where, int depth, size_t* steps, const One& one) {
  if (j.is_null()) return {};
  VIBEE_ASSIGN(const std::string type, text_of(j, "type", where));
  if (type != "Sequence") {
    if (++*steps > kMaxSteps)
      return unsupported(where, "type", fmt::format("a Sequence of more than {} steps", kMaxSteps));
    return one(j, type);
  }
  if (depth >= kMaxDepth) return unsupported(where, "type", fmt::format("a Sequence nested {} deep", depth));
  const Json& parts = at(j, list);
  if (!parts.is_array()) return wrong(where, list, "is not a list");
  for (const Json& part : parts) VIBEE_TRY(each_step(part, list, where, depth + 1, steps, one));
  return {};
}

Status read_normalizer(const Json& j, const std::string& type, const std::string& where, TokenizerSpec* spec) {
  NormalizerStep step;
  if (type == "NFC" || type == "NFD" || type == "NFKC" || type == "NFKD") {
    step.kind = type == "NFC"    ? NormalizerStep::nfc
                : type == "NFD"  ? NormalizerStep::nfd
                : type == "NFKC" ? NormalizerStep::nfkc
                                 : NormalizerStep::nfkd;
  } else if (type == "Lowercase") {
    step.kind = NormalizerStep::lowercase;
  } else if (type == "StripAccents") {
    step.kind = NormalizerStep::strip_accents;
  } else if (type == "Strip") {
    step.kind = NormalizerStep::strip;
    VIBEE_ASSIGN(step.left, flag_of(j, "strip_left", true, where));
    VIBEE_ASSIGN(step.right, flag_of(j, "strip_right", true, where));
  } else if (type == "Replace") {
    step.kind = NormalizerStep::replace;
    VIBEE_TRY(pattern_of(j, where, &step.pattern, &step.is_regex));
    VIBEE_ASSIGN(step.content, text_of(j, "content", where));
  } else if (type == "Prepend") {
    step.kind = NormalizerStep::prepend;
    VIBEE_ASSIGN(step.content, text_of(j, "prepend", where));
  } else if (type == "BertNormalizer") {
    step.kind = NormalizerStep::bert;
    VIBEE_ASSIGN(step.clean_text, flag_of(j, "clean_text", true, where));
    VIBEE_ASSIGN(step.chinese_chars, flag_of(j, "handle_chinese_chars", true, where));
    VIBEE_ASSIGN(step.lower, flag_of(j, "lowercase", true, where));
    VIBEE_ASSIGN(step.strip_accents_too, flag_of(j, "strip_accents", step.lower, where));
  } else if (type == "Precompiled") {
    step.kind = NormalizerStep::precompiled;
    VIBEE_ASSIGN(const std::string map, text_of(j, "precompiled_charsmap", where));
    step.content = from_base64(map);
    if (step.content.empty()) return {};
  } else {
    return unsupported(where, "type", quote(type));
  }
  spec->normalizers.push_back(std::move(step));
  return {};
}

Status read_pre_tokenizer(const Json& j, const std::string& type, const std::string& where, TokenizerSpec* spec) {
  PreTokenizerStep step;
  if (type == "ByteLevel") {
    VIBEE_ASSIGN(step.add_prefix_space, flag_of(j, "add_prefix_space", true, where));
    VIBEE_ASSIGN(step.use_pattern, flag_of(j, "use_regex", true, where));
  } else if (type == "Split") {
    step.kind = PreTokenizerStep::split;
    VIBEE_TRY(pattern_of(j, where, &step.pattern, &step.is_regex));
    VIBEE_ASSIGN(step.behavior, behavior_of(j, where));
    VIBEE_ASSIGN(step.invert, flag_of(j, "invert", false, where));
  } else if (type == "CharDelimiterSplit") {
    step.kind = PreTokenizerStep::split;
    VIBEE_ASSIGN(step.pattern, text_of(j, "delimiter", where));
    step.behavior = SplitBehavior::removed;
  } else if (type == "Metaspace") {
    step.kind = PreTokenizerStep::metaspace;
    VIBEE_ASSIGN(step.pattern, text_of(j, "replacement", where));
    VIBEE_ASSIGN(step.prepend, prepend_of(j, where));
    VIBEE_ASSIGN(step.use_pattern, flag_of(j, "split", true, where));
  } else if (type == "Digits") {
    step.kind = PreTokenizerStep::digits;
    VIBEE_ASSIGN(step.use_pattern, flag_of(j, "individual_digits", false, where));
  } else if (type == "Punctuation") {
    step.kind = PreTokenizerStep::punctuation;
    VIBEE_ASSIGN(step.behavior, behavior_of(j, where));
  } else if (type == "Whitespace") {
    step.kind = PreTokenizerStep::whitespace;
  } else if (type == "WhitespaceSplit") {
    step.kind = PreTokenizerStep::whitespace_split;
  } else if (type == "BertPreTokenizer") {
    step.kind = PreTokenizerStep::bert;
  } else {
    return unsupported(where, "type", quote(type));
  }
  spec->pre_tokenizers.push_back(std::move(step));
  return {};
}

Status read_decoder(const Json& j, const std::string& type, const std::string& where, TokenizerSpec* spec) {
  DecoderStep step;
  if (type == "ByteLevel") {
    step.kind = DecoderStep::byte_level;
  } else if (type == "ByteFallback") {
    step.kind = DecoderStep::byte_fallback;
  } else if (type == "Fuse") {
    step.kind = DecoderStep::fuse;
  } else if (type == "Metaspace") {
    step.kind = DecoderStep::metaspace;
    VIBEE_ASSIGN(step.pattern, text_of(j, "replacement", where));
    VIBEE_ASSIGN(const PrependScheme prepend, prepend_of(j, where));
    step.strip_first = prepend != PrependScheme::never;
  } else if (type == "Replace") {
    step.kind = DecoderStep::replace;
    bool is_regex = false;
    VIBEE_TRY(pattern_of(j, where, &step.pattern, &is_regex));
    if (is_regex) return unsupported(where, "pattern", "a Regex in a decoder");
    VIBEE_ASSIGN(step.content, text_of(j, "content", where));
  } else if (type == "Strip") {
    step.kind = DecoderStep::strip;
    VIBEE_ASSIGN(step.content, text_of(j, "content", where));
    VIBEE_ASSIGN(step.count, integer_of(at(j, "start"), "start", 0, 1, where));
    VIBEE_ASSIGN(const int32_t stop, integer_of(at(j, "stop"), "stop", 0, 1 << 20, where));
    if (stop != 0) return unsupported(where, "stop", "stripping the end of a text");
    if (step.content != " ") return unsupported(where, "content", "stripping anything but a space");
  } else if (type == "WordPiece") {
    step.kind = DecoderStep::wordpiece;
    VIBEE_ASSIGN(step.pattern, text_of(j, "prefix", where));
    VIBEE_ASSIGN(step.cleanup, flag_of(j, "cleanup", true, where));
  } else {
    return unsupported(where, "type", quote(type));
  }
  spec->decoders.push_back(std::move(step));
  return {};
}

Status set_token(const std::string& text, int32_t id, size_t most, const std::string& where, TokenizerSpec* spec) {
  if (size_t(id) >= most)
    return wrong(where, "vocab",
                 fmt::format("gives {} the id {}, far more than the tokens there are", quote(text), id));
  if (size_t(id) >= spec->tokens.size()) {
    spec->tokens.resize(id + 1);
    spec->types.resize(id + 1, uint8_t(TokenType::unused));
  }
  if (spec->types[id] != uint8_t(TokenType::unused) && spec->tokens[id] != text)
    return wrong(where, "vocab", fmt::format("gives the id {} to {} and {}", id, quote(spec->tokens[id]), quote(text)));
  spec->tokens[id] = text;
  spec->types[id] = uint8_t(TokenType::normal);
  return {};
}

Status read_scored(const Json& vocabulary, const std::string& where, TokenizerSpec* spec) {
  if (!vocabulary.is_array()) return wrong(where, "vocab", "is not a list");
  for (const Json& row : vocabulary) {
    if (!row.is_array() || row.size() != 2 || !row[0].is_string() || !row[1].is_number())
      return wrong(where, "vocab",
                   fmt::format("has an element {} that is not a text and a number", spec->tokens.size()));
    spec->tokens.push_back(row[0].get<std::string>());
    spec->scores.push_back(row[1].get<double>());
  }
  spec->types.assign(spec->tokens.size(), uint8_t(TokenType::normal));
  return {};
}

Status read_merges(const Json& merges, const std::string& where, TokenizerSpec* spec) {
  if (!merges.is_array()) return wrong(where, "merges", "is not a list");
  std::unordered_map<std::string_view, int32_t> known;
  for (size_t i = 0; i < spec->tokens.size(); ++i) known[spec->tokens[i]] = int32_t(i);
  for (const Json& merge : merges) {
    TokenMerge both;
    if (merge.is_string()) {
      both = merge_of(merge.get_ref<const std::string&>());
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      const auto& left = merge[0].get_ref<const std::string&>();
      both = {left + merge[1].get_ref<const std::string&>(), uint32_t(left.size())};
    }
    const size_t rank = spec->merges.size();
    if (both.left().empty() || both.right().empty())
      return wrong(where, "merges", fmt::format("has an element {} that is not two texts", rank));
    for (const std::string_view text : {both.left(), both.right(), std::string_view(both.both)}) {
      if (!known.contains(text))
        return wrong(where, "merges", fmt::format("names {} at {}, which is not in the vocabulary", quote(text), rank));
    }
    spec->merges.push_back(std::move(both));
  }
  return {};
}

Status no_affix(const Json& model, const char* key, const std::string& where) {
  const Json& v = at(model, key);
  if (v.is_null() || (v.is_string() && v.get_ref<const std::string&>().empty())) return {};
  return unsupported(where, key, v.is_string() ? quote(v.get_ref<const std::string&>()) : "a value");
}

Status read_model(const Json& model, size_t added, const std::string& where, TokenizerSpec* spec) {
  std::string type;
  if (at(model, "type").is_null()) {  // files of early versions
    type = at(model, "merges").is_array() ? "BPE" : at(model, "vocab").is_array() ? "Unigram" : "WordPiece";
  } else {
    VIBEE_ASSIGN(type, text_of(model, "type", where));
  }
  const Json& vocabulary = at(model, "vocab");
  if (type == "Unigram") {
    spec->model = "t5";
    spec->algorithm = TokenModel::unigram;
    VIBEE_TRY(read_scored(vocabulary, where, spec));
    if (const Json& unk = at(model, "unk_id"); !unk.is_null()) {
      VIBEE_ASSIGN(spec->unk, integer_of(unk, "unk_id", 0, int64_t(spec->tokens.size()) - 1, where));
    }
    VIBEE_ASSIGN(spec->byte_fallback, flag_of(model, "byte_fallback", false, where));
    return {};
  }
  if (!vocabulary.is_object()) return wrong(where, "vocab", "is not an object");
  const size_t most = std::min(kMaxTokens, 2 * (vocabulary.size() + added) + 65536);
  for (const auto& [text, id] : vocabulary.items()) {
    VIBEE_ASSIGN(const int32_t number, integer_of(id, "vocab", 0, INT32_MAX, where));
    if (number < int32_t(spec->types.size()) && spec->types[number] == uint8_t(TokenType::normal))
      return wrong(where, "vocab", fmt::format("gives the id {} twice", number));
    VIBEE_TRY(set_token(text, number, most, where, spec));
  }
  if (const Json& unk = at(model, "unk_token"); !unk.is_null()) {
    VIBEE_ASSIGN(const std::string text, text_of(model, "unk_token", where));
    const auto it = vocabulary.find(text);
    if (it != vocabulary.end()) spec->unk = it->get<int32_t>();
  }
  if (type == "BPE") {
    spec->model = "gpt2";
    spec->algorithm = TokenModel::bpe;
    if (const Json& dropout = at(model, "dropout"); !dropout.is_null() && dropout != 0.0)
      return unsupported(where, "dropout", "random merging");
    VIBEE_TRY(no_affix(model, "continuing_subword_prefix", where));
    VIBEE_TRY(no_affix(model, "end_of_word_suffix", where));
    VIBEE_ASSIGN(spec->byte_fallback, flag_of(model, "byte_fallback", false, where));
    VIBEE_ASSIGN(spec->fuse_unknown, flag_of(model, "fuse_unk", false, where));
    VIBEE_ASSIGN(spec->whole_words, flag_of(model, "ignore_merges", false, where));
    return read_merges(at(model, "merges"), where, spec);
  }
  if (type == "WordPiece") {
    spec->model = "bert";
    spec->algorithm = TokenModel::wordpiece;
    if (!at(model, "continuing_subword_prefix").is_null()) {
      VIBEE_ASSIGN(spec->subword_prefix, text_of(model, "continuing_subword_prefix", where));
    }
    if (const Json& longest = at(model, "max_input_chars_per_word"); !longest.is_null()) {
      VIBEE_ASSIGN(spec->longest_word, integer_of(longest, "max_input_chars_per_word", 0, 1 << 20, where));
    }
    return {};
  }
  if (type == "WordLevel") {
    spec->model = "wordlevel";
    spec->algorithm = TokenModel::wordlevel;
    return {};
  }
  return unsupported(where, "type", quote(type));
}

Status read_added(const Json& list, const std::string& where, TokenizerSpec* spec) {
  if (list.is_null()) return {};
  if (!list.is_array()) return wrong(where, "added_tokens", "is not a list");
  const size_t most = std::min(kMaxTokens, 2 * (spec->tokens.size() + list.size()) + 65536);
  for (const Json& j : list) {
    AddedToken token;
    VIBEE_ASSIGN(token.id, integer_of(at(j, "id"), "id", 0, INT32_MAX, where));
    VIBEE_ASSIGN(const std::string text, text_of(j, "content", where));
    VIBEE_ASSIGN(token.single_word, flag_of(j, "single_word", false, where));
    VIBEE_ASSIGN(token.lstrip, flag_of(j, "lstrip", false, where));
    VIBEE_ASSIGN(token.rstrip, flag_of(j, "rstrip", false, where));
    VIBEE_ASSIGN(token.normalized, flag_of(j, "normalized", true, where));
    VIBEE_ASSIGN(const bool special, flag_of(j, "special", false, where));
    token.outside_model = size_t(token.id) >= spec->tokens.size() || spec->tokens[token.id] != text;
    VIBEE_TRY(set_token(text, token.id, most, where, spec));
    spec->types[token.id] = uint8_t(special ? TokenType::control : TokenType::user_defined);
    spec->added.push_back(token);
  }
  if (spec->algorithm == TokenModel::unigram) spec->scores.resize(spec->tokens.size());
  return {};
}

int32_t id_of(const TokenizerSpec& spec, std::string_view text) {
  const auto it = std::find(spec.tokens.begin(), spec.tokens.end(), text);
  return it == spec.tokens.end() ? -1 : int32_t(it - spec.tokens.begin());
}

Status read_parts(const Json& j, const char* key, const std::string& where, const TokenizerSpec& spec,
                  std::vector<TemplatePart>* out) {
  const Json& parts = at(j, key);
  if (!parts.is_array()) return wrong(where, key, "is not a list");
  for (const Json& part : parts) {
    TemplatePart one;
    const bool text = !at(part, "Sequence").is_null();
    const Json& what = at(part, text ? "Sequence" : "SpecialToken");
    if (!at(what, "type_id").is_null()) {
      VIBEE_ASSIGN(one.type_id, integer_of(at(what, "type_id"), "type_id", 0, 1 << 20, where));
    }
    VIBEE_ASSIGN(const std::string id, text_of(what, "id", where));
    if (text) {
      if (id != "A" && id != "B") return wrong(where, "Sequence", "is neither A nor B");
      one.sequence = id == "B";
      out->push_back(one);
      continue;
    }
    const Json& ids = at(at(at(j, "special_tokens"), id.c_str()), "ids");
    if (!ids.is_array()) return wrong(where, "special_tokens", fmt::format("has no ids for {}", quote(id)));
    for (const Json& number : ids) {
      VIBEE_ASSIGN(one.id, integer_of(number, "ids", 0, int64_t(spec.tokens.size()) - 1, where));
      out->push_back(one);
    }
  }
  return {};
}

Status read_post_processor(const Json& j, const std::string& type, const std::string& where, TokenizerSpec* spec) {
  if (type == "ByteLevel") return {};  // moves offsets only
  if (type == "TemplateProcessing") {
    VIBEE_TRY(read_parts(j, "single", where, *spec, &spec->single));
    return read_parts(j, "pair", where, *spec, &spec->pair);
  }
  if (type != "BertProcessing" && type != "RobertaProcessing") return unsupported(where, "type", quote(type));
  int32_t ends[2];  // [CLS] and [SEP]
  for (const int i : {0, 1}) {
    const char* key = i == 0 ? "cls" : "sep";
    const Json& pair = at(j, key);
    if (!pair.is_array() || pair.size() != 2) return wrong(where, key, "is not a text and an id");
    VIBEE_ASSIGN(ends[i], integer_of(pair[1], key, 0, int64_t(spec->tokens.size()) - 1, where));
  }
  spec->single = {{.id = ends[0]}, {}, {.id = ends[1]}};
  spec->pair = spec->single;
  if (type == "BertProcessing") {
    spec->pair.insert(spec->pair.end(), {{.sequence = 1, .type_id = 1}, {.id = ends[1], .type_id = 1}});
  } else {
    spec->pair.insert(spec->pair.end(), {{.id = ends[1]}, {.sequence = 1}, {.id = ends[1]}});
  }
  return {};
}

/// One token before and after a text is what the rest of the engine calls BOS and EOS.
void ends_from_template(TokenizerSpec* spec) {
  const auto text =
      std::find_if(spec->single.begin(), spec->single.end(), [](const TemplatePart& p) { return p.id < 0; });
  if (text == spec->single.end()) return;
  if (text - spec->single.begin() == 1) {
    spec->bos = spec->single.front().id;
    spec->add_bos = true;
  }
  if (spec->single.end() - text == 2) {
    spec->eos = spec->single.back().id;
    spec->add_eos = true;
  }
}

}  // namespace

Result<TokenizerSpec> read_tokenizer_json(std::string_view json, const std::string& name) {
  const Json j = Json::parse(json, nullptr, false);
  if (!j.is_object()) return error(Code::corrupt, "{}: is not a JSON object; the file is damaged", name);
  TokenizerSpec spec;
  spec.expanded = true;
  const Json& added = at(j, "added_tokens");
  VIBEE_TRY(read_model(at(j, "model"), added.size(), name + ": model", &spec));
  VIBEE_TRY(read_added(added, name + ": added_tokens", &spec));
  size_t steps = 0;
  const auto read = [&](const char* key, const char* list, auto&& one) {
    const std::string where = name + ": " + key;
    return each_step(at(j, key), list, where, 0, &steps,
                     [&](const Json& step, const std::string& type) { return one(step, type, where, &spec); });
  };
  VIBEE_TRY(read("normalizer", "normalizers", read_normalizer));
  VIBEE_TRY(read("pre_tokenizer", "pretokenizers", read_pre_tokenizer));
  VIBEE_TRY(read("decoder", "decoders", read_decoder));
  VIBEE_TRY(read("post_processor", "processors", read_post_processor));
  const bool bytes = std::any_of(spec.pre_tokenizers.begin(), spec.pre_tokenizers.end(),
                                 [](const PreTokenizerStep& s) { return s.kind == PreTokenizerStep::byte_level; });
  if (bytes && spec.algorithm != TokenModel::bpe)
    return unsupported(name, "pre_tokenizer", "ByteLevel with a model that is not BPE");
  ends_from_template(&spec);
  return spec;
}

Status read_tokenizer_config(std::string_view json, const std::string& name, TokenizerSpec* spec) {
  const Json j = Json::parse(json, nullptr, false);
  if (!j.is_object()) return error(Code::corrupt, "{}: is not a JSON object; the file is damaged", name);
  const std::pair<const char*, int32_t*> ids[] = {
      {"bos_token", &spec->bos}, {"eos_token", &spec->eos}, {"unk_token", &spec->unk}, {"pad_token", &spec->pad}};
  for (const auto& [key, id] : ids) {
    const Json& v = at(j, key);
    if (v.is_null()) continue;
    const Json& text = v.is_object() ? at(v, "content") : v;
    if (!text.is_string()) return wrong(name, key, "is neither a text nor an object with a content");
    const int32_t found = id_of(*spec, text.get_ref<const std::string&>());
    if (found < 0)
      return wrong(name, key, fmt::format("is {}, which is no token", quote(text.get_ref<const std::string&>())));
    *id = found;
  }
  VIBEE_ASSIGN(spec->add_bos, flag_of(j, "add_bos_token", spec->add_bos, name));
  VIBEE_ASSIGN(spec->add_eos, flag_of(j, "add_eos_token", spec->add_eos, name));
  if (spec->add_bos && spec->bos < 0) return wrong(name, "add_bos_token", "is true, but there is no bos_token");
  if (spec->add_eos && spec->eos < 0) return wrong(name, "add_eos_token", "is true, but there is no eos_token");
  const Json& chat = at(j, "chat_template");
  if (chat.is_string()) {
    spec->chat_template = chat.get<std::string>();
  } else if (chat.is_array()) {  // several by name: the one called default
    for (const Json& one : chat) {
      if (at(one, "name") == "default") {
        VIBEE_ASSIGN(spec->chat_template, text_of(one, "template", name));
      }
    }
  } else if (!chat.is_null()) {
    return wrong(name, "chat_template", "is neither a text nor a list");
  }
  return {};
}

}  // namespace vibee
