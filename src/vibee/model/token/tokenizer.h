// SPDX-License-Identifier: Apache-2.0
// Text <-> token ids, from the metadata of a GGUF file or anything that fills a TokenizerSpec. A tokenizer is immutable
// after it is made: any number of threads may use one.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "vibee/base/memory/forget.h"
#include "vibee/base/status/status.h"
#include "vibee/model/token/normalize.h"
#include "vibee/model/token/pretokenize.h"
#include "vibee/model/token/special_split.h"
#include "vibee/model/token/text_index.h"
#include "vibee/model/token/tokenizer_spec.h"

namespace vibee {

/// The values of tokenizer.ggml.token_type.
enum class TokenType : uint8_t { normal = 1, unknown = 2, control = 3, user_defined = 4, unused = 5, byte = 6 };

/// What a file that says nothing about add_bos means by it.
bool adds_bos_by_default(std::string_view model, std::string_view pre);

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;

  /// Appends the ids of `text`, no BOS or EOS. Control tokens spelled in the text count as such only with
  /// `parse_special`; user-defined ones always. On an error `ids` is as it was.
  Status encode(std::string_view text, bool parse_special, std::vector<int32_t>* ids) const;

  int32_t size() const { return int32_t(types_.size()); }
  /// The raw bytes a token stands for (a control token: its text); empty for an id out of range.
  std::string_view piece(int32_t id) const;
  TokenType type(int32_t id) const { return in_range(id) ? types_[id] : TokenType::unused; }
  /// Control and unknown tokens: not part of what a reader sees.
  bool is_control(int32_t id) const;
  /// Tokens that end an answer: eos, eot, and control tokens by the names that end a turn in published models.
  bool is_end(int32_t id) const { return in_range(id) && ends_[id]; }
  /// The id of a token spelled as in the vocabulary, or -1.
  int32_t find(std::string_view text) const;

  int32_t bos() const { return spec_.bos; }
  int32_t eos() const { return spec_.eos; }
  int32_t eot() const { return spec_.eot; }
  int32_t unk() const { return spec_.unk; }
  int32_t pad() const { return spec_.pad; }
  bool add_bos() const { return spec_.add_bos; }
  bool add_eos() const { return spec_.add_eos; }
  /// `ids`, and `second` for a pair, with the special tokens that the model expects around them. `types` gets for each
  /// which of the two texts it counts to.
  std::vector<int32_t> wrap(const std::vector<int32_t>& ids, const std::vector<int32_t>* second = nullptr,
                            std::vector<int32_t>* types = nullptr) const;
  /// Whether encoding puts a space before the text that decoding takes off again.
  bool adds_space_prefix() const { return adds_space_prefix_; }
  const std::string& chat_template() const { return spec_.chat_template; }
  const std::string& model() const { return spec_.model; }
  const std::string& pre() const { return spec_.pre; }

 protected:
  /// `spec` is already expanded and validated by make_tokenizer.
  explicit Tokenizer(TokenizerSpec spec);
  /// Appends the ids of one word: a stretch between special tokens that the pre-tokenizers made.
  virtual Status encode_word(std::string_view word, std::vector<int32_t>* ids) const = 0;
  /// A token as the vocabulary spells it.
  std::string_view text_of(int32_t id) const { return texts_[size_t(id)]; }
  bool in_range(int32_t id) const { return id >= 0 && id < size(); }
  /// Tokens that plain text may become: everything but control and unknown.
  bool is_text(int32_t id) const { return types_[id] != TokenType::control && types_[id] != TokenType::unknown; }
  const TokenizerSpec& spec() const { return spec_; }
  /// Gives back the memory of what a model has in tables of its own.
  void forget_merges() { forget(spec_.merges); }
  void forget_scores() { forget(spec_.scores); }
  /// Of the tokens that plain text may become.
  const TextIndex& index() const { return index_; }
  /// The token of a byte without a token of its own ("<0x0A>"), or -1.
  int32_t byte_token(uint8_t byte) const { return byte_tokens_[byte]; }
  /// Appends byte tokens for `text`; false, with nothing appended, when one is missing.
  bool spell(std::string_view text, std::vector<int32_t>* ids) const;

 private:
  friend Result<std::unique_ptr<Tokenizer>> make_tokenizer(TokenizerSpec spec);
  Status compile();
  void add_piece(int32_t id, bool typed_bytes, bool in_model);
  std::string word_pattern() const;
  Status encode_words(std::string_view text, bool first, Words* words, std::vector<int32_t>* ids) const;

  TokenizerSpec spec_;
  std::vector<TokenType> types_;
  std::vector<bool> ends_;
  TextList texts_, pieces_;  // as the vocabulary spells them, and what they stand for; spec_.tokens is empty once made
  TextIndex index_;
  int32_t byte_tokens_[256];
  std::optional<Normalizer> normalizer_;
  std::optional<PreTokenizer> pre_;
  SpecialSplit specials_, normalized_specials_;
  bool adds_space_prefix_ = false;
  uint64_t serial_ = 0;  // of this tokenizer's words in the cache of a thread
};

/// Validates everything first: known model and pre-tokenizer, arrays of one length, ids in range, scores that are
/// numbers.
Result<std::unique_ptr<Tokenizer>> make_tokenizer(TokenizerSpec spec);

}  // namespace vibee
