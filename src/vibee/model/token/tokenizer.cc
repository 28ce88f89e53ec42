// SPDX-License-Identifier: Apache-2.0
// What both kinds of tokenizer share: validation of the metadata, special tokens, pieces.
#include "vibee/model/token/tokenizer.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <set>

#include "vibee/model/token/bpe.h"
#include "vibee/model/token/decode_token.h"
#include "vibee/model/token/gguf_pre.h"
#include "vibee/model/token/py_text.h"
#include "vibee/model/token/spm.h"
#include "vibee/model/token/unigram.h"
#include "vibee/model/token/utf8.h"
#include "vibee/model/token/word_cache.h"
#include "vibee/model/token/wordpiece.h"

namespace vibee {
namespace {

constexpr size_t kMaxTokens = TextIndex::kMaxId;
constexpr uint64_t kMaxVocabularyBytes = 1u << 30;  // published ones take a few MB
constexpr size_t kMaxTokenBytes = 4096;             // the longest published ones have a few hundred
constexpr size_t kMaxSpecialBytes = 1024;           // bounds the work a byte of text when splitting at special tokens
constexpr size_t kMaxTextBytes = size_t(1) << 30;   // positions and ids are 32-bit

// Names of control tokens that end a turn or a text in published models, whatever the file's eos says.
constexpr std::string_view kEndNames[] = {
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|eos|>",
    "<|eot|>",
    "<｜end▁of▁sentence｜>",
};

Status check_id(const char* name, int32_t id, size_t tokens) {
  if (id < -1 || (id >= 0 && size_t(id) >= tokens)) {
    return error(Code::corrupt, "tokenizer: {} id {} is outside the vocabulary of {} tokens", name, id, tokens);
  }
  return {};
}

Status validate(const TokenizerSpec& spec) {
  const size_t n = spec.tokens.size();
  if (n == 0) return error(Code::corrupt, "tokenizer: the vocabulary is empty");
  if (n > kMaxTokens) return error(Code::corrupt, "tokenizer: {} tokens, more than the {} supported", n, kMaxTokens);
  if (!spec.types.empty() && spec.types.size() != n) {
    return error(Code::corrupt, "tokenizer: {} token types for {} tokens", spec.types.size(), n);
  }
  if (!spec.scores.empty() && spec.scores.size() != n) {
    return error(Code::corrupt, "tokenizer: {} scores for {} tokens", spec.scores.size(), n);
  }
  if ((spec.algorithm == TokenModel::spm || spec.algorithm == TokenModel::unigram) && spec.scores.empty())
    return error(Code::corrupt, "tokenizer: model {} needs scores, there are none", spec.model.substr(0, 64));
  uint64_t bytes = 0;
  for (size_t i = 0; i < n; ++i) {
    bytes += spec.tokens[i].size();
    if (bytes > kMaxVocabularyBytes)
      return error(Code::corrupt, "tokenizer: the vocabulary's texts take more than the {} bytes supported",
                   kMaxVocabularyBytes);
    if (spec.tokens[i].size() > kMaxTokenBytes) {
      return error(Code::corrupt, "tokenizer: token {} has {} bytes, more than the {} supported", i,
                   spec.tokens[i].size(), kMaxTokenBytes);
    }
    if (!spec.types.empty()) {
      const uint8_t t = spec.types[i];
      if (t < 1 || t > 6) return error(Code::corrupt, "tokenizer: token {} has type {}, known are 1 to 6", i, t);
      if ((t == 2 || t == 3 || t == 4) && spec.tokens[i].size() > kMaxSpecialBytes) {
        return error(Code::corrupt, "tokenizer: special token {} has {} bytes, more than the {} supported", i,
                     spec.tokens[i].size(), kMaxSpecialBytes);
      }
    }
    if (!spec.scores.empty() && std::isnan(spec.scores[i]))
      return error(Code::corrupt, "tokenizer: the score of token {} is not a number", i);
  }
  VIBEE_TRY(check_id("bos", spec.bos, n));
  VIBEE_TRY(check_id("eos", spec.eos, n));
  VIBEE_TRY(check_id("eot", spec.eot, n));
  for (const int32_t id : spec.ends)
    if (id < 0 || size_t(id) >= n)
      return error(Code::corrupt, "tokenizer: the id {} of \"eos_token_id\" is outside the vocabulary of {} tokens", id,
                   n);
  VIBEE_TRY(check_id("unknown", spec.unk, n));
  VIBEE_TRY(check_id("padding", spec.pad, n));
  for (const AddedToken& token : spec.added) VIBEE_TRY(check_id("added token", token.id, n));
  for (const auto* parts : {&spec.single, &spec.pair}) {
    for (const TemplatePart& part : *parts) VIBEE_TRY(check_id("template", part.id, n));
  }
  if (spec.add_bos && spec.bos < 0) return error(Code::corrupt, "tokenizer: add_bos is set, but there is no bos id");
  if (spec.add_eos && spec.eos < 0) return error(Code::corrupt, "tokenizer: add_eos is set, but there is no eos id");
  return {};
}

}  // namespace

Tokenizer::Tokenizer(TokenizerSpec spec) : spec_(std::move(spec)), index_(texts_, spec_.tokens.size()) {
  static std::atomic<uint64_t> serials{0};
  serial_ = ++serials;
  const size_t n = spec_.tokens.size();
  types_.assign(n, TokenType::normal);
  ends_.assign(n, false);
  std::fill(std::begin(byte_tokens_), std::end(byte_tokens_), -1);
  bool typed_bytes = false;  // a file without token types names its bytes by their spelling alone
  for (size_t i = 0; i < n; ++i) {
    if (!spec_.types.empty()) types_[i] = TokenType(spec_.types[i]);
    typed_bytes |= types_[i] == TokenType::byte;
    const std::string& text = spec_.tokens[i];
    ends_[i] = types_[i] == TokenType::control &&
               std::find(std::begin(kEndNames), std::end(kEndNames), text) != std::end(kEndNames);
  }
  if (spec_.eos >= 0) ends_[spec_.eos] = true;
  if (spec_.eot >= 0) ends_[spec_.eot] = true;
  for (const int32_t id : spec_.ends) ends_[id] = true;
  forget(spec_.types);
  for (const DecoderStep& step : spec_.decoders) {
    adds_space_prefix_ |= step.kind == DecoderStep::wordpiece || (step.kind == DecoderStep::strip && step.count > 0) ||
                          (step.kind == DecoderStep::metaspace && step.strip_first);
  }
  std::vector<bool> outside(n);
  for (const AddedToken& token : spec_.added) outside[token.id] = token.outside_model;
  size_t bytes = 0;
  for (const std::string& text : spec_.tokens) bytes += text.size();
  texts_.reserve(n, bytes);
  pieces_.reserve(n, bytes);
  for (const std::string& text : spec_.tokens) texts_.append(text);
  for (size_t i = 0; i < n; ++i) add_piece(int32_t(i), typed_bytes, !outside[i]);
}

void Tokenizer::add_piece(int32_t id, bool typed_bytes, bool in_model) {
  const std::string_view text = text_of(id);
  const TokenType t = types_[id];
  const int byte = spec_.byte_fallback ? byte_of(text) : -1;
  if (byte >= 0 && (t == TokenType::byte || (!typed_bytes && t == TokenType::normal))) {
    byte_tokens_[byte] = id;
    const char one = char(byte);
    pieces_.append({&one, 1});
  } else {
    const bool literal = !is_text(id) || t == TokenType::user_defined;
    const std::string decoded = decode_token(spec_.decoders, text);
    // A user-defined token stands for its text as it is: where the model spells bytes as characters, text that reads
    // otherwise there is not the model's to use.
    const bool bytes =
        !spec_.pre_tokenizers.empty() && spec_.pre_tokenizers.back().kind == PreTokenizerStep::byte_level;
    if (is_text(id) && !text.empty() && in_model && !(bytes && literal && decoded != text)) index_.insert(id);
    pieces_.append(literal ? text : std::string_view(decoded));
  }
}

/// Where no merge can cross the place before a run of space signs: a pattern of what stands between such places, or
/// empty. No token has a sign behind another character but the few in `joins`, behind which the text is not cut.
std::string Tokenizer::word_pattern() const {
  constexpr size_t kMostJoins = 64;
  constexpr uint32_t kSpaceCode = 0x2581;
  const auto cuts = [](const PreTokenizerStep& step) {  // there already, or where bytes are the symbols
    return step.kind == PreTokenizerStep::byte_level || (step.kind == PreTokenizerStep::metaspace && step.use_pattern);
  };
  if (spec_.algorithm != TokenModel::spm && spec_.algorithm != TokenModel::bpe) return {};
  if (std::any_of(spec_.pre_tokenizers.begin(), spec_.pre_tokenizers.end(), cuts)) return {};
  if (spec_.whole_words || index_.find(kSpaceSign) < 0) return {};
  std::set<uint32_t> joins;
  for (const std::string& token : spec_.tokens) {
    uint32_t previous = 0;
    for (size_t at = 0; at < token.size();) {
      const Utf8Step step = utf8_step(std::string_view(token).substr(at));
      if (step.kind != Utf8Step::character) return {};
      if (at > 0 && step.code == kSpaceCode && previous != kSpaceCode) joins.insert(previous);
      previous = step.code;
      at += step.length;
    }
    if (joins.size() > kMostJoins) return {};
  }
  std::string behind;
  for (const uint32_t code : joins) behind += fmt::format("\\x{{{:x}}}", code);
  if (behind.empty()) return "\xe2\x96\x81*[^\xe2\x96\x81]+";
  // Possessive: a text of one word of any length leaves nothing to come back to.
  return fmt::format("\xe2\x96\x81*+(?:[^\xe2\x96\x81]++|(?<=[{}])\xe2\x96\x81++)++", behind);
}

Status Tokenizer::compile() {
  VIBEE_ASSIGN(normalizer_, Normalizer::make(spec_.normalizers));
  std::vector<PreTokenizerStep> steps = spec_.pre_tokenizers;
  if (std::string pattern = word_pattern(); !pattern.empty())  // the same ids, of words that the cache knows
    steps.push_back({.kind = PreTokenizerStep::split, .pattern = std::move(pattern), .is_regex = true});
  VIBEE_ASSIGN(pre_, PreTokenizer::make(steps));
  std::vector<AddedToken> rules(spec_.tokens.size());
  for (size_t i = 0; i < rules.size(); ++i) rules[i].id = int32_t(i);
  for (const AddedToken& token : spec_.added) rules[token.id] = token;
  for (const AddedToken& token : rules) {
    const TokenType t = types_[token.id];
    if (t != TokenType::control && t != TokenType::unknown && t != TokenType::user_defined) continue;
    std::string text = spec_.tokens[token.id];
    if (token.normalized) VIBEE_TRY(normalizer_->apply(spec_.tokens[token.id], &text));
    (token.normalized ? normalized_specials_ : specials_).add(text, token, t == TokenType::user_defined);
  }
  return {};
}

bool Tokenizer::spell(std::string_view text, std::vector<int32_t>* ids) const {
  if (!std::all_of(text.begin(), text.end(), [&](char c) { return byte_tokens_[uint8_t(c)] >= 0; })) return false;
  for (const char c : text) ids->push_back(byte_tokens_[uint8_t(c)]);
  return true;
}

std::vector<int32_t> Tokenizer::wrap(const std::vector<int32_t>& ids, const std::vector<int32_t>* second,
                                     std::vector<int32_t>* types) const {
  std::vector<TemplatePart> parts = second == nullptr ? spec_.single : spec_.pair;
  if (parts.empty()) {
    for (int32_t sequence = 0; sequence < (second == nullptr ? 1 : 2); ++sequence) {
      if (spec_.add_bos) parts.push_back({spec_.bos, sequence, sequence});
      parts.push_back({-1, sequence, sequence});
      if (spec_.add_eos) parts.push_back({spec_.eos, sequence, sequence});
    }
  }
  std::vector<int32_t> out, type_of;
  for (const TemplatePart& part : parts) {
    const std::vector<int32_t>& text = part.sequence == 0 || second == nullptr ? ids : *second;
    if (part.id >= 0) {
      out.push_back(part.id);
    } else {
      out.insert(out.end(), text.begin(), text.end());
    }
    type_of.resize(out.size(), part.type_id);
  }
  if (types != nullptr) *types = std::move(type_of);
  return out;
}

std::string_view Tokenizer::piece(int32_t id) const { return in_range(id) ? pieces_[size_t(id)] : std::string_view(); }

bool Tokenizer::is_control(int32_t id) const { return in_range(id) && !is_text(id); }

int32_t Tokenizer::find(std::string_view text) const {
  for (int32_t id = 0; id < size(); ++id)
    if (text_of(id) == text) return id;
  return -1;
}

Status Tokenizer::encode_words(std::string_view text, bool first, Words* words, std::vector<int32_t>* ids) const {
  if (pre_->empty()) return encode_word(text, ids);
  VIBEE_TRY(pre_->split(text, first, words));
  WordCache& cache = WordCache::of_thread();
  for (const std::string_view word : words->list) {
    if (cache.find(serial_, word, ids)) continue;
    const size_t before = ids->size();
    if (Status status = encode_word(word, ids); !status.ok()) {
      const bool inside = word.data() >= text.data() && word.data() < text.data() + text.size();
      return inside ? std::move(status).within(fmt::format("word at byte {}", word.data() - text.data()))
                    : std::move(status);
    }
    cache.put(serial_, word, {ids->data() + before, ids->size() - before});
  }
  return {};
}

Status Tokenizer::encode(std::string_view text, bool parse_special, std::vector<int32_t>* ids) const {
  if (text.size() > kMaxTextBytes) {
    return error(Code::invalid, "a text of {} bytes is longer than the {} that can be encoded at once", text.size(),
                 kMaxTextBytes);
  }
  const size_t before = ids->size();
  Words words;
  const auto encode_plain = [&](std::string_view plain) -> Status {
    std::string changed;
    const bool first = plain.data() == text.data();
    if (!normalizer_->empty()) {
      VIBEE_TRY(normalizer_->apply(plain, &changed));
      plain = changed;
    }
    if (plain.empty()) return {};
    if (normalized_specials_.empty()) return encode_words(plain, first, &words, ids);
    for (const Fragment& fragment : normalized_specials_.split(plain, parse_special)) {
      if (fragment.id >= 0) {
        ids->push_back(fragment.id);
      } else {
        VIBEE_TRY(encode_words(fragment.text, first && fragment.text.data() == plain.data(), &words, ids));
      }
    }
    return {};
  };
  for (const Fragment& fragment : specials_.split(text, parse_special)) {
    if (fragment.id >= 0) {
      ids->push_back(fragment.id);
    } else if (Status status = encode_plain(fragment.text); !status.ok()) {
      ids->resize(before);
      return std::move(status).within(fmt::format("text at byte {}", fragment.text.data() - text.data()));
    }
  }
  return {};
}

Result<std::unique_ptr<Tokenizer>> make_tokenizer(TokenizerSpec spec) {
  VIBEE_TRY(expand_gguf(&spec));
  VIBEE_TRY(validate(spec));
  std::unique_ptr<Tokenizer> made;
  switch (spec.algorithm) {
    case TokenModel::bpe: {
      VIBEE_ASSIGN(made, make_bpe(std::move(spec)));
      break;
    }
    case TokenModel::spm: made = make_spm(std::move(spec)); break;
    case TokenModel::unigram: made = make_unigram(std::move(spec)); break;
    case TokenModel::wordpiece: made = make_wordpiece(std::move(spec)); break;
    case TokenModel::wordlevel: made = make_wordlevel(std::move(spec)); break;
  }
  VIBEE_TRY(made->compile());
  forget(made->spec_.tokens);
  return made;
}

}  // namespace vibee
