// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/token/gguf_spec.h"

#include <algorithm>

#include "vibee/base/text/json_object.h"
#include "vibee/base/text/quote.h"
#include "vibee/model/token/decode_token.h"
#include "vibee/model/token/gguf_pre.h"
#include "vibee/model/token/spm_merges.h"
#include "vibee/model/token/tokenizer.h"
#include "vibee/model/token/tokenizer_json_write.h"

namespace vibee {
namespace {

/// The steps of `spec` where they have another form that gives the same words.
void simplify(TokenizerSpec* spec) {
  const auto is_space_sign = [](const NormalizerStep& s) {
    return s.kind == NormalizerStep::replace && !s.is_regex && s.pattern == " " && s.content != " ";
  };
  if (std::any_of(spec->normalizers.begin(), spec->normalizers.end(), is_space_sign)) {  // no space is left to cut at
    std::erase_if(spec->pre_tokenizers, [](const PreTokenizerStep& s) {
      return s.kind == PreTokenizerStep::split && !s.is_regex && s.pattern == " " && !s.invert;
    });
  }
  // Runs of spaces become one before Metaspace, which has one sign in front in any case: as Unigram of transformers
  // and that of GGUF spell it.
  std::vector<NormalizerStep>& n = spec->normalizers;
  const std::vector<PreTokenizerStep>& p = spec->pre_tokenizers;
  if (n.size() == 3 && n[0].kind == NormalizerStep::precompiled && n[1].kind == NormalizerStep::strip && n[1].right &&
      n[2].kind == NormalizerStep::replace && n[2].pattern == " {2,}" && p.size() == 1 &&
      p[0].kind == PreTokenizerStep::metaspace && p[0].prepend == PrependScheme::always) {
    n[1].left = true;
    if (n[2].content == p[0].pattern) n[2].content = " ";
  }
}

/// The first step of `want` that is not that of `have`; empty where they are equal.
std::string parting(const char* what, const std::vector<std::string>& want, const std::vector<std::string>& have) {
  for (size_t i = 0; i < std::max(want.size(), have.size()); ++i) {
    if (i >= want.size()) return fmt::format("it has no {} {}", what, have[i]);
    if (i >= have.size() || want[i] != have[i]) return fmt::format("{} {}", what, want[i]);
  }
  return {};
}

class Namer {
 public:
  Namer(const TokenizerSpec& spec, size_t rows) : want_(spec), rows_(rows) { simplify(&want_); }

  Result<GgufTokenizer> run() {
    VIBEE_TRY(choose());
    TokenizerSpec& spec = out_.spec;
    for (const auto& id :
         {&TokenizerSpec::bos, &TokenizerSpec::eos, &TokenizerSpec::eot, &TokenizerSpec::unk, &TokenizerSpec::pad})
      spec.*id = want_.*id;
    spec.add_bos = want_.add_bos;
    spec.add_eos = want_.add_eos;
    spec.chat_template = want_.chat_template;
    if (spec.model == "gpt2" && spec.eos < 0)
      out_.warnings.push_back("there is no eos_token, in whose place readers of GGUF take token 11");
    warn_of_decoders();
    warn_of_added();
    warn_of_template();
    fill();
    return std::move(out_);
  }

 private:
  /// Whether GGUF's `candidate` means the steps wanted; otherwise what parts them.
  std::string difference(const TokenizerSpec& candidate) const {
    TokenizerSpec expanded = candidate;
    if (Status status = expand_gguf(&expanded); !status.ok()) return std::string(status.message());
    simplify(&expanded);
    const PipelineJson want = pipeline_json(want_), have = pipeline_json(expanded);
    if (std::string at = parting("normalizer", want.normalizers, have.normalizers); !at.empty()) return at;
    if (std::string at = parting("pre_tokenizer", want.pre_tokenizers, have.pre_tokenizers); !at.empty()) return at;
    if (want_.whole_words != expanded.whole_words) return "ignore_merges";
    const auto is_byte = [](const std::string& text) { return byte_of(text) >= 0; };
    if (want_.byte_fallback != expanded.byte_fallback && std::any_of(want_.tokens.begin(), want_.tokens.end(), is_byte))
      return "byte_fallback";
    if (want_.algorithm == TokenModel::wordpiece && want_.longest_word != expanded.longest_word)
      return "max_input_chars_per_word";
    return {};
  }

  Status choose() {
    TokenizerSpec plain;
    plain.tokens = want_.tokens;
    plain.types = want_.types;
    plain.types.resize(want_.tokens.size(), uint8_t(TokenType::normal));
    const bool bytes =
        !want_.pre_tokenizers.empty() && want_.pre_tokenizers.back().kind == PreTokenizerStep::byte_level;
    switch (want_.algorithm) {
      case TokenModel::bpe:
        // A dropped normal form is what every published file of such models does.
        if (bytes && want_.normalizers.size() == 1 && want_.normalizers[0].kind <= NormalizerStep::nfkd) {
          out_.warnings.push_back(
              fmt::format("GGUF cannot say the normalizer {}: texts in another normal form get "
                          "other ids",
                          pipeline_json(want_).normalizers[0]));
          want_.normalizers.clear();
        }
        if (name_pre(plain)) return {};
        if (bytes)
          return error(Code::unsupported, "no tokenizer.ggml.pre means its steps (pre_tokenizer {})",
                       json_array(pipeline_json(want_).pre_tokenizers));
        return name_pieces(plain);
      case TokenModel::spm: break;
      case TokenModel::unigram:
        plain.model = "t5";
        plain.scores = want_.scores;
        plain.charsmap = charsmap();
        strip_ends();
        if (want_.unk >= 0) plain.types[size_t(want_.unk)] = uint8_t(TokenType::unknown);
        return name_prefix(plain);
      case TokenModel::wordpiece:
        plain.model = "bert";
        for (size_t i = 0; i < plain.tokens.size(); ++i) {
          std::string& text = plain.tokens[i];
          if (plain.types[i] != uint8_t(TokenType::normal) ||
              (text.size() > 2 && text.front() == '[' && text.back() == ']'))
            continue;
          text = text.starts_with(want_.subword_prefix) ? text.substr(want_.subword_prefix.size())
                                                        : std::string(kSpaceSign) + text;
        }
        VIBEE_TRY(take(plain));
        warn_of_spelling();
        return {};
      case TokenModel::wordlevel: break;
    }
    return error(Code::unsupported, "GGUF has no tokenizer of this kind ({})", quote(want_.model));
  }

  bool name_pre(TokenizerSpec plain) {
    const auto divided = [](const TokenMerge& merge) {
      return merge_of(fmt::format("{} {}", merge.left(), merge.right())) == merge;
    };
    if (!std::all_of(want_.merges.begin(), want_.merges.end(), divided)) return false;  // GGUF divides them at a space
    plain.model = "gpt2";
    plain.merges = want_.merges;
    for (const std::string& name : pre_names()) {
      plain.pre = name;
      if (take(plain).ok()) return true;
    }
    return false;
  }

  /// BPE of characters is SentencePiece BPE where its merges come from scores.
  Status name_pieces(TokenizerSpec plain) {
    plain.model = "llama";
    std::vector<bool> usable(plain.tokens.size());
    for (size_t i = 0; i < usable.size(); ++i) {
      if (byte_of(plain.tokens[i]) >= 0 && plain.types[i] == uint8_t(TokenType::normal))
        plain.types[i] = uint8_t(TokenType::byte);
      if (int32_t(i) == want_.unk) plain.types[i] = uint8_t(TokenType::unknown);
      const auto type = TokenType(plain.types[i]);
      usable[i] = type == TokenType::normal || type == TokenType::user_defined;
    }
    for (const AddedToken& token : want_.added)
      if (token.outside_model) usable[size_t(token.id)] = false;
    VIBEE_ASSIGN(plain.scores, scores_of_merges(plain.tokens, want_.merges, usable));
    // Metaspace that does not split: as the two normalizers, but for texts that begin with a space.
    std::vector<PreTokenizerStep>& p = want_.pre_tokenizers;
    if (want_.normalizers.empty() && p.size() == 1 && p[0].kind == PreTokenizerStep::metaspace && !p[0].use_pattern &&
        p[0].pattern == kSpaceSign) {
      if (p[0].prepend != PrependScheme::never) {
        want_.normalizers.push_back({.kind = NormalizerStep::prepend, .content = std::string(kSpaceSign)});
        out_.warnings.push_back(
            "GGUF cannot say the pre_tokenizer Metaspace: texts that begin with a space or stand behind a special "
            "token "
            "get other ids");
      }
      want_.normalizers.push_back(
          {.kind = NormalizerStep::replace, .pattern = " ", .content = std::string(kSpaceSign)});
      p.clear();
    }
    return name_prefix(plain);
  }

  Status name_prefix(TokenizerSpec plain) {
    plain.add_space_prefix = false;
    if (take(plain).ok()) return {};
    plain.add_space_prefix = true;
    return take(plain);
  }

  Status take(const TokenizerSpec& candidate) {
    if (const std::string part = difference(candidate); !part.empty())
      return error(Code::unsupported, "GGUF's {} cannot say {}", quote(candidate.model), part.substr(0, 400));
    out_.spec = candidate;
    return {};
  }

  std::string charsmap() const {
    for (const NormalizerStep& s : want_.normalizers)
      if (s.kind == NormalizerStep::precompiled) return s.content;
    return {};
  }

  /// GGUF's Unigram strips a text; tokenizers without that step differ only at the ends of texts.
  void strip_ends() {
    std::vector<NormalizerStep>& n = want_.normalizers;
    if (n.size() != 2 || n[0].kind != NormalizerStep::precompiled || n[1].kind != NormalizerStep::replace) return;
    n.insert(n.begin() + 1, {.kind = NormalizerStep::strip});
    simplify(&want_);
    out_.warnings.push_back("GGUF drops white space at the ends of a text, which this tokenizer does not");
  }

  /// A continuation that begins with U+2581 is a word's first token in GGUF.
  void warn_of_spelling() {
    TokenizerSpec expanded = out_.spec;
    if (!expand_gguf(&expanded).ok()) return;
    size_t count = 0, one = 0;
    for (size_t i = 0; i < want_.tokens.size(); ++i)
      if (want_.tokens[i] != expanded.tokens[i]) ++count, one = i;
    if (count > 0)
      out_.warnings.push_back(fmt::format("GGUF cannot say {} tokens such as {}", count, quote(want_.tokens[one], 64)));
  }

  void warn_of_decoders() {
    TokenizerSpec expanded = out_.spec;
    if (!expand_gguf(&expanded).ok()) return;
    const std::string at = parting("decoder", pipeline_json(want_).decoders, pipeline_json(expanded).decoders);
    // Metaspace and the steps of Llama give the same text.
    const bool pieces = want_.decoders.size() == 1 && want_.decoders[0].kind == DecoderStep::metaspace;
    if (!at.empty() && !pieces)
      out_.warnings.push_back(fmt::format("GGUF cannot say {}: spaces of decoded text may differ", at));
  }

  void warn_of_added() {
    size_t count = 0;
    const AddedToken* one = nullptr;
    for (const AddedToken& token : want_.added) {
      const bool changed =
          token.normalized && !want_.normalizers.empty() && want_.types[size_t(token.id)] != uint8_t(TokenType::normal);
      if (!token.single_word && !token.lstrip && !token.rstrip && !changed) continue;
      ++count;
      one = &token;
    }
    if (one != nullptr)
      out_.warnings.push_back(
          fmt::format("GGUF cannot say how {} added tokens such as {} match (single_word, lstrip, rstrip, normalized)",
                      count, quote(want_.tokens[size_t(one->id)], 64)));
  }

  void warn_of_template() {
    std::vector<int32_t> ids, want;
    if (want_.add_bos) ids.push_back(want_.bos);
    ids.push_back(-1);
    if (want_.add_eos) ids.push_back(want_.eos);
    for (const TemplatePart& part : want_.single) want.push_back(part.id);
    if (!want.empty() && want != ids)
      out_.warnings.push_back("GGUF cannot say the post_processor: other special tokens are put around a text");
  }

  void fill() {
    TokenizerSpec& spec = out_.spec;
    if (rows_ != 0 && spec.tokens.size() > rows_)
      out_.warnings.push_back(
          fmt::format("the tokenizer has {} tokens, the embedding only {} rows", spec.tokens.size(), rows_));
    spec.tokens.resize(std::max(rows_, spec.tokens.size()));
    spec.types.resize(spec.tokens.size(), uint8_t(TokenType::unused));
    if (!spec.scores.empty())
      spec.scores.resize(spec.tokens.size(), *std::min_element(spec.scores.begin(), spec.scores.end()));
    for (size_t i = 0; i < spec.tokens.size(); ++i)
      if (is_filler(spec, i)) spec.tokens[i] = fmt::format("[PAD{}]", i);
  }

  TokenizerSpec want_;
  size_t rows_;
  GgufTokenizer out_;
};

}  // namespace

Result<GgufTokenizer> gguf_tokenizer(const TokenizerSpec& spec, size_t rows) { return Namer(spec, rows).run(); }

}  // namespace vibee
