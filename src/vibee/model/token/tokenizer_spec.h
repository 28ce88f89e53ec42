// SPDX-License-Identifier: Apache-2.0
// What a model file says about its tokenizer: plain data between the file readers (GGUF metadata, tokenizer.json) and
// the tokenizers. A text goes through added tokens, normalizers, pre-tokenizers, the model and the template; tokens go
// back through the decoders. Names and meanings are those of the tokenizer.json format of Hugging Face tokenizers.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace vibee {

struct NormalizerStep {
  enum Kind : uint8_t {
    nfc,
    nfd,
    nfkc,
    nfkd,
    lowercase,
    strip,          ///< white space at the `left` and `right` end
    strip_accents,  ///< combining marks (category M); useful after nfd
    replace,        ///< every `pattern` by `content`
    prepend,        ///< `content` before a text that is not empty
    bert,
    precompiled,  ///< `content`: the character map of a SentencePiece model (charsmap.h)
  };
  Kind kind = nfc;
  std::string pattern = {}, content = {};
  bool is_regex = false;
  bool left = true, right = true;
  // bert; accents are stripped only where this says so (a file that says nothing means as `lower` does)
  bool clean_text = true, chinese_chars = true, strip_accents_too = true, lower = true;
};

enum class SplitBehavior : uint8_t { removed, isolated, merged_with_previous, merged_with_next, contiguous };
enum class PrependScheme : uint8_t { always, first, never };

struct PreTokenizerStep {
  enum Kind : uint8_t {
    byte_level,        ///< GPT-2: words by its pattern when `use_pattern`, bytes as symbols; must be the last step
    split,             ///< at `pattern`, by `behavior`; `invert`: the matches are what lies between
    metaspace,         ///< spaces as `pattern`, one more in front by `prepend`, words begin there when `use_pattern`
    digits,            ///< `use_pattern`: every digit alone, otherwise runs of digits
    punctuation,       ///< by `behavior`
    whitespace,        ///< runs of word characters and runs of anything else that is no white space
    whitespace_split,  ///< at white space
    bert,              ///< at white space, and every punctuation character alone
  };
  Kind kind = byte_level;
  std::string pattern = {};
  bool is_regex = false;
  SplitBehavior behavior = SplitBehavior::isolated;
  bool invert = false;
  bool add_prefix_space = false;
  bool use_pattern = true;
  PrependScheme prepend = PrependScheme::always;
};

struct DecoderStep {
  enum Kind : uint8_t {
    byte_level,
    byte_fallback,
    metaspace,  ///< `pattern` as a space, the one in front taken off when `strip_first`
    replace,    ///< string `pattern` by `content`
    fuse,
    strip,      ///< up to `count` times `content` at the start of the text
    wordpiece,  ///< `pattern`: the prefix of a word's later tokens; `cleanup`: no space before punctuation
  };
  Kind kind = byte_level;
  std::string pattern = {}, content = {};
  int32_t count = 0;
  bool strip_first = true;
  bool cleanup = true;
};

/// One part of what a text becomes: a special token, or the text itself.
struct TemplatePart {
  int32_t id = -1;       ///< the token; -1: the ids of text `sequence`
  int32_t sequence = 0;  ///< 0: the first (or only) text, 1: the second
  int32_t type_id = 0;
};

/// How an added token is matched in a text; a token without a row matches as its text stands.
struct AddedToken {
  int32_t id = -1;
  bool single_word = false;             ///< not inside a word
  bool lstrip = false, rstrip = false;  ///< takes the white space on that side
  bool normalized = false;              ///< matched after normalizing, and normalized itself
  bool outside_model = false;           ///< the model itself never makes it out of plain text
};

/// Two neighbours of a word that become one symbol.
struct TokenMerge {
  std::string both;
  uint32_t left_bytes = 0;  ///< of `both`; each side has at least one
  std::string_view left() const { return std::string_view(both).substr(0, left_bytes); }
  std::string_view right() const { return std::string_view(both).substr(left_bytes); }
  bool operator==(const TokenMerge&) const = default;
};
/// "left right", as GGUF and early files of tokenizers write it: the first space behind the first byte divides. Without
/// one the left side is empty, which make_tokenizer refuses.
inline TokenMerge merge_of(std::string_view text) {
  const size_t space = text.find(' ', 1);
  if (space == std::string_view::npos) return {std::string(text), 0};
  return {std::string(text.substr(0, space)) + std::string(text.substr(space + 1)), uint32_t(space)};
}

enum class TokenModel : uint8_t {
  bpe,        ///< merges by rank
  spm,        ///< SentencePiece BPE: any two neighbours that spell a token, by its score
  unigram,    ///< the likeliest sequence of tokens by their scores
  wordpiece,  ///< the longest token, then the longest continuation, and so on
  wordlevel,  ///< a word is a token
};

struct TokenizerSpec {
  std::string model;  ///< GGUF name: "gpt2" (BPE), "llama" (SentencePiece BPE), "bert" (WordPiece), "t5" (Unigram)
  std::string pre;    ///< GGUF name of the pre-tokenizer of "gpt2"; make_tokenizer expands it into the steps below
  std::vector<std::string> tokens;
  std::vector<double> scores;      ///< one a token; "llama" and "t5" only
  std::vector<uint8_t> types;      ///< one a token (TokenType); empty: all normal
  std::vector<TokenMerge> merges;  ///< best first; BPE only
  int32_t bos = -1, eos = -1, eot = -1, unk = -1, pad = -1;
  std::vector<int32_t> ends;  ///< others that end an answer
  bool add_bos = false, add_eos = false;
  bool add_space_prefix = true;  ///< "llama" and "t5" from GGUF only
  std::string chat_template;

  /// Whether the fields below are filled; otherwise make_tokenizer fills them from the GGUF names above.
  bool expanded = false;
  TokenModel algorithm = TokenModel::bpe;
  std::vector<NormalizerStep> normalizers;
  std::vector<PreTokenizerStep> pre_tokenizers;
  std::vector<DecoderStep> decoders;
  std::vector<TemplatePart> single, pair;  ///< empty: the texts as they are
  std::vector<AddedToken> added;           ///< of tokens that are not matched plainly
  std::string charsmap;                    ///< "t5" from GGUF: tokenizer.ggml.precompiled_charsmap
  std::string subword_prefix = "##";       ///< WordPiece
  int32_t longest_word = 100;              ///< WordPiece: characters; longer words are unknown
  bool byte_fallback = false;              ///< BPE, Unigram: a character without a token as its bytes <0x00> ... <0xFF>
  bool fuse_unknown = false;  ///< BPE: a run of unknown characters is one unknown token (Unigram always does)
  bool whole_words = false;   ///< BPE: a word that is a token is taken without merging (ignore_merges)
};

}  // namespace vibee
