// SPDX-License-Identifier: Apache-2.0
// What both kinds of tokenizer share: validation of the metadata, special tokens, pieces.
#include "vibee/model/token/tokenizer.h"

#include <algorithm>
#include <cmath>

#include "vibee/model/token/bpe.h"
#include "vibee/model/token/pretokenize.h"
#include "vibee/model/token/spm.h"

namespace vibee {
namespace {

constexpr size_t kMaxTokens = 1u << 24;
constexpr size_t kMaxTokenBytes = 4096;            // the longest published ones have a few hundred
constexpr size_t kMaxSpecialBytes = 1024;          // bounds the work a byte of text when splitting at special tokens
constexpr size_t kMaxTextBytes = size_t(1) << 30;  // positions and ids are 32-bit

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
  if (spec.model != "gpt2" && spec.model != "llama") {
    return error(Code::unsupported,
                 "tokenizer model \"{}\" is not known; known are gpt2 (byte-level BPE), llama (SentencePiece BPE)",
                 spec.model.substr(0, 64));
  }
  if (n == 0) return error(Code::corrupt, "tokenizer: the vocabulary is empty");
  if (n > kMaxTokens) return error(Code::corrupt, "tokenizer: {} tokens, more than the {} supported", n, kMaxTokens);
  if (!spec.types.empty() && spec.types.size() != n) {
    return error(Code::corrupt, "tokenizer: {} token types for {} tokens", spec.types.size(), n);
  }
  if (!spec.scores.empty() && spec.scores.size() != n) {
    return error(Code::corrupt, "tokenizer: {} scores for {} tokens", spec.scores.size(), n);
  }
  if (spec.model == "llama" && spec.scores.empty())
    return error(Code::corrupt, "tokenizer: model llama needs scores, there are none");
  for (size_t i = 0; i < n; ++i) {
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
  VIBEE_TRY(check_id("unknown", spec.unk, n));
  VIBEE_TRY(check_id("padding", spec.pad, n));
  if (spec.add_bos && spec.bos < 0) return error(Code::corrupt, "tokenizer: add_bos is set, but there is no bos id");
  if (spec.add_eos && spec.eos < 0) return error(Code::corrupt, "tokenizer: add_eos is set, but there is no eos id");
  return {};
}

}  // namespace

Tokenizer::Tokenizer(TokenizerSpec spec) : spec_(std::move(spec)) {
  const size_t n = spec_.tokens.size();
  types_.assign(n, TokenType::normal);
  ends_.assign(n, false);
  for (size_t i = 0; i < n; ++i) {
    if (!spec_.types.empty()) types_[i] = TokenType(spec_.types[i]);
    const std::string& text = spec_.tokens[i];
    const TokenType t = types_[i];
    if (t == TokenType::control || t == TokenType::unknown) {
      specials_.add(text, int32_t(i), false);
    } else if (t == TokenType::user_defined) {
      specials_.add(text, int32_t(i), true);
    }
    ends_[i] =
        t == TokenType::control && std::find(std::begin(kEndNames), std::end(kEndNames), text) != std::end(kEndNames);
  }
  if (spec_.eos >= 0) ends_[spec_.eos] = true;
  if (spec_.eot >= 0) ends_[spec_.eot] = true;
  spec_.types = {};
}

void Tokenizer::add_piece(std::string_view bytes) {
  pieces_ += bytes;
  piece_ends_.push_back(pieces_.size());
}

std::string_view Tokenizer::piece(int32_t id) const {
  if (!in_range(id)) return {};
  const uint64_t begin = id == 0 ? 0 : piece_ends_[id - 1];
  return std::string_view(pieces_).substr(begin, piece_ends_[id] - begin);
}

bool Tokenizer::is_control(int32_t id) const { return in_range(id) && !is_text(id); }

int32_t Tokenizer::find(std::string_view text) const {
  const auto it = std::find(spec_.tokens.begin(), spec_.tokens.end(), text);
  return it == spec_.tokens.end() ? -1 : int32_t(it - spec_.tokens.begin());
}

Status Tokenizer::encode(std::string_view text, bool parse_special, std::vector<int32_t>* ids) const {
  if (text.size() > kMaxTextBytes) {
    return error(Code::invalid, "a text of {} bytes is longer than the {} that can be encoded at once", text.size(),
                 kMaxTextBytes);
  }
  const size_t before = ids->size();
  bool first = true;
  for (const Fragment& fragment : specials_.split(text, parse_special)) {
    if (fragment.id >= 0) {
      ids->push_back(fragment.id);
    } else if (Status status = encode_plain(fragment.text, first, ids); !status.ok()) {
      ids->resize(before);
      return std::move(status).within(fmt::format("text at byte {}", fragment.text.data() - text.data()));
    }
    first = fragment.id >= 0;
  }
  return {};
}

bool adds_bos_by_default(std::string_view model, std::string_view pre) {
  if (model == "llama") return true;
  const auto made = PreTokenizer::make(pre);
  return made.ok() && made->adds_bos();
}

Result<std::unique_ptr<Tokenizer>> make_tokenizer(TokenizerSpec spec) {
  VIBEE_TRY(validate(spec));
  if (spec.model == "gpt2") return make_byte_bpe(std::move(spec));
  return make_spm(std::move(spec));
}

}  // namespace vibee
