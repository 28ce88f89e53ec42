// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/token/gguf_pre.h"

#include <algorithm>
#include <string_view>

#include "vibee/base/text/quote.h"
#include "vibee/model/token/tokenizer.h"

namespace vibee {
namespace {

#define VIBEE_CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define VIBEE_SPACES "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define VIBEE_OTHER " ?[^\\s\\p{L}\\p{N}]+"
// One word of mixed case: capitals then small letters, as o200k cuts it; `except` is a set to leave out.
#define VIBEE_UPPER(except) "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}" except "]"
#define VIBEE_LOWER(except) "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}" except "]"
#define VIBEE_CASED(except, ending)                             \
  "[^\\r\\n\\p{L}\\p{N}]?" VIBEE_UPPER(except) "*" VIBEE_LOWER( \
      except) "+" ending                                        \
              "|"                                               \
              "[^\\r\\n\\p{L}\\p{N}]?" VIBEE_UPPER(except) "+" VIBEE_LOWER(except) "*" ending "|"
#define VIBEE_ASCII_SIGNS "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|"
#define VIBEE_DEEPSEEK VIBEE_ASCII_SIGNS "[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+"

constexpr const char* kGpt2 = kGpt2Pattern;
constexpr const char* kLlama3 =
    VIBEE_CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|" VIBEE_OTHER "[\\r\\n]*|" VIBEE_SPACES;
constexpr const char* kJais2 =
    VIBEE_CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|" VIBEE_OTHER
                       "[\\r\\n]*|\\s*[\\r\\n]+|\\s{512}(?!\\S)|\\s{256}(?!\\S)|\\s{128}(?!\\S)|\\s{64}(?!\\S)|"
                       "\\s{32}(?!\\S)|\\s{16}(?!\\S)|\\s{8}(?!\\S)|\\s{4}(?!\\S)|\\s{1,2}(?!\\S)|\\s{1}";
constexpr const char* kQwen2 =
    VIBEE_CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|" VIBEE_OTHER "[\\r\\n]*|" VIBEE_SPACES;
constexpr const char* kQwen35 = VIBEE_CONTRACTIONS
    "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" VIBEE_SPACES;
constexpr const char* kNoContractions = "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|" VIBEE_OTHER "[\\r\\n]*|" VIBEE_SPACES;
constexpr const char* kAllDigits =
    VIBEE_CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}+|" VIBEE_OTHER "[\\r\\n]*|" VIBEE_SPACES;
constexpr const char* kO200k =
    VIBEE_CASED("", VIBEE_CONTRACTIONS "?") "\\p{N}{1,3}|" VIBEE_OTHER "[\\r\\n/]*|" VIBEE_SPACES;
constexpr const char* kYoutu = VIBEE_CASED("", VIBEE_CONTRACTIONS "?") "\\p{N}|" VIBEE_OTHER "[\\r\\n/]*|" VIBEE_SPACES;
constexpr const char* kTekken = VIBEE_CASED("", "") "\\p{N}|" VIBEE_OTHER "[\\r\\n/]*|" VIBEE_SPACES;
constexpr const char* kKimi = "\\p{Han}+|" VIBEE_CASED(
    "&&[^\\p{Han}]", VIBEE_CONTRACTIONS "?") "\\p{N}{1,3}|" VIBEE_OTHER "[\\r\\n]*|" VIBEE_SPACES;
constexpr const char* kBailing =
    "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]++"
    "[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+";
constexpr const char* kSeedCoder =
    VIBEE_CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|" VIBEE_SPACES;
constexpr const char* kExaoneMoe =
    VIBEE_CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?(?:\\p{L}\\p{M}*(?: \\p{L}\\p{M}*)*)+|\\p{N}|" VIBEE_OTHER
                       "[\\r\\n/]?|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+";
constexpr const char* kDeepseek3 = VIBEE_DEEPSEEK "[\\r\\n]*|" VIBEE_SPACES;
constexpr const char* kSpark = VIBEE_DEEPSEEK "|[\\r\\n]|\\s+(?!\\S)|\\s+";
constexpr const char* kDeepseekLetters =
    "\\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-"
    "ὅὈ-"
    "Ὅὐ-"
    "ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ί"
    "ῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-"
    "𐓓𐓘-"
    "𐓻𐲀-"
    "𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+";
constexpr const char* kDeepseekSigns = "\\s?[!-/:-~！-／：-～‘-‟　-。]+";
constexpr const char* kDeepseekCjk = "[一-龥ࠀ-一가-퟿]+";
constexpr const char* kCjkKana = "[一-龥぀-ゟ゠-ヿ]+";
constexpr const char* kYoutuCjk =
    "[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+";
constexpr const char* kBloom = " ?[^(\\s|.,!?…。，、।۔،)]+";
constexpr const char* kDigit = "\\p{N}";
constexpr const char* kDefaultPunctuation = "[\\p{P}\\$\\+<=>\\^~\\|]+";
constexpr const char* kFalconPunctuation = "[\\p{P}\\$\\+<=>\\^~\\|`]+";
constexpr const char* kNumbers = "\\p{N}+";
constexpr const char* kThrees = "\\p{N}{1,3}";
constexpr const char* kLines = "[^\\n]+|[\\n]+";

struct Row {
  std::string_view names;  // between blanks
  const char* patterns[6];
  bool whole_words = false, adds_bos = false;
  bool bytes = true;  // false: characters are the symbols, a space is U+2581
};

constexpr Row kRows[] = {
    {" gpt-2 phi-2 mpt olmo jais mellum exaone4 gigachat trillion granite-docling jina-es jina-de jina-v2-es jina-v2-de"
     " jina-v1-en jina-v2-code roberta-bpe a.x-4.0 modern-bert ",
     {kGpt2}},
    {" smollm starcoder refact command-r codeshell exaone minerva-7b mellum2 ", {kDigit, kGpt2}},
    {" default ", {kDefaultPunctuation, kGpt2, kNumbers, "[0-9][0-9][0-9]"}},
    {" falcon ", {kFalconPunctuation, kGpt2, "[0-9][0-9][0-9]"}},
    {" llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano ", {kLlama3}, true, true},
    {" glm4 glm5 ", {kLlama3}, true},
    {" chatglm-bpe dbrx smaug-bpe ", {kLlama3}},
    {" jais-2 ", {kJais2}},
    {" minicpm5 ", {kThrees, kAllDigits}, true},
    {" qwen2 deepseek-r1-qwen kormo f2llmv2 stablelm2 megrez hunyuan solar-open grok-2 ", {kQwen2}},
    {" qwen35 ", {kQwen35}},
    {" ufakzeka ", {kNoContractions}},
    {" laguna ", {kLines, kQwen2}},
    {" gpt-4o llama4 kanana2 talkie minimax-m2 ", {kO200k}},
    {" granite-embed-multi-97m ", {kO200k}, true},
    {" tiny_aya cohere2moe ", {"\\d{1,3}(?=(?:\\d{3})*\\b)", kO200k}},
    {" tekken ", {kTekken}, true, true},
    {" kimi-k2 ", {kKimi}},
    {" youtu ", {kYoutuCjk, kYoutu}, true},
    {" superbpe ", {kNumbers, "(?=(\\d{3})+(?!\\d))"}},
    {" bailingmoe bailingmoe2 llada-moe ", {kBailing}},
    {" seed-coder ", {kSeedCoder}},
    {" exaone-moe ", {kExaoneMoe}},
    {" deepseek-llm ", {"[\\r\\n]", kDeepseekLetters, kDeepseekSigns, "\\s+$", kDeepseekCjk, kNumbers}},
    {" deepseek-coder ", {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", kDeepseekCjk, kDigit}},
    {" deepseek-v3 hunyuan-dense joyai-llm hy_v4 ", {kThrees, kCjkKana, kDeepseek3}},
    {" spark2_5 ", {kThrees, kCjkKana, kSpark, kDigit}},
    {" poro-chat bloom gpt3-finnish ", {kBloom}},
    {" viking ", {kBloom, kDigit}},
    {" chameleon ",
     {"<sentinel:[0-9]+>", "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z", "([\\t\\n]|    |  )", kDigit,
      "[\\p{P}!-/:-@\\x{5b}-`{-~]", kGpt2},
     false,
     true},
    {" gemma4 granite-embed-multi-311m sarvam-moe ", {kLines}, false, false, false},
    {" whitespace ", {"\\S+"}, false, false, false},
};

const Row* row_of(std::string_view name) {
  const std::string between = " " + std::string(name) + " ";
  const bool one = !name.empty() && name.find(' ') == std::string_view::npos;
  const auto row = std::find_if(std::begin(kRows), std::end(kRows),
                                [&](const Row& r) { return one && r.names.find(between) != std::string_view::npos; });
  return row == std::end(kRows) ? nullptr : row;
}

constexpr const char* kSpace = "\xe2\x96\x81";  // U+2581, how SentencePiece writes a space

void spaces_as_signs(bool prefix, TokenizerSpec* spec) {
  if (prefix) spec->normalizers.push_back({.kind = NormalizerStep::prepend, .content = kSpace});
  spec->normalizers.push_back({.kind = NormalizerStep::replace, .pattern = " ", .content = kSpace});
  spec->decoders = {{.kind = DecoderStep::replace, .pattern = kSpace, .content = " "},
                    {.kind = DecoderStep::byte_fallback},
                    {.kind = DecoderStep::fuse}};
  if (prefix) spec->decoders.push_back({.kind = DecoderStep::strip, .content = " ", .count = 1});
  spec->byte_fallback = true;
}

Status expand_bpe(TokenizerSpec* spec) {
  const Row* row = row_of(spec->pre);
  if (row == nullptr) {
    return error(Code::unsupported, "pre-tokenizer {} is not known; known are {}", quote(spec->pre, 64),
                 known_pre_names());
  }
  spec->algorithm = TokenModel::bpe;
  spec->whole_words = row->whole_words;
  if (!row->bytes) spaces_as_signs(false, spec);
  for (const char* pattern : row->patterns) {
    if (pattern != nullptr)
      spec->pre_tokenizers.push_back({.kind = PreTokenizerStep::split, .pattern = pattern, .is_regex = true});
  }
  if (row->bytes) {
    spec->pre_tokenizers.push_back({.kind = PreTokenizerStep::byte_level, .use_pattern = false});
    spec->decoders = {{.kind = DecoderStep::byte_level}};
  }
  return {};
}

/// GGUF writes a WordPiece vocabulary with U+2581 before first tokens and nothing before continuations.
void expand_wordpiece(TokenizerSpec* spec) {
  spec->algorithm = TokenModel::wordpiece;
  for (size_t i = 0; i < spec->tokens.size(); ++i) {
    std::string& text = spec->tokens[i];
    const bool special = i < spec->types.size() && spec->types[i] != uint8_t(TokenType::normal);
    if (special || (text.size() > 2 && text.front() == '[' && text.back() == ']')) continue;
    text = text.starts_with(kSpace) ? text.substr(3) : spec->subword_prefix + text;
  }
  spec->normalizers = {{.kind = NormalizerStep::bert}};
  spec->pre_tokenizers = {{.kind = PreTokenizerStep::bert}};
  spec->decoders = {{.kind = DecoderStep::wordpiece, .pattern = spec->subword_prefix}};
  if (spec->add_bos && spec->add_eos)  // [CLS] A [SEP] B [SEP]
    spec->pair = {{spec->bos, 0, 0}, {-1, 0, 0}, {spec->eos, 0, 0}, {-1, 1, 1}, {spec->eos, 1, 1}};
}

void expand_unigram(TokenizerSpec* spec) {
  spec->algorithm = TokenModel::unigram;
  if (!spec->charsmap.empty())
    spec->normalizers.push_back({.kind = NormalizerStep::precompiled, .content = spec->charsmap});
  spec->normalizers.push_back({.kind = NormalizerStep::strip});
  spec->normalizers.push_back({.kind = NormalizerStep::replace, .pattern = " {2,}", .content = " ", .is_regex = true});
  const PrependScheme prepend = spec->add_space_prefix ? PrependScheme::always : PrependScheme::never;
  spec->pre_tokenizers = {{.kind = PreTokenizerStep::metaspace, .pattern = kSpace, .prepend = prepend}};
  spec->decoders = {{.kind = DecoderStep::metaspace, .pattern = kSpace, .strip_first = spec->add_space_prefix}};
}

}  // namespace

std::string known_pre_names() {
  std::string names;
  for (const Row& row : kRows) {
    for (const char c : row.names.substr(1)) names += c == ' ' ? ", " : std::string(1, c);
  }
  return names.substr(0, names.size() - 2);
}

std::vector<std::string> pre_names() {
  std::vector<std::string> names;
  for (const Row& row : kRows) names.emplace_back(row.names.substr(1, row.names.find(' ', 1) - 1));
  return names;
}

bool adds_bos_by_default(std::string_view model, std::string_view pre) {
  if (model == "llama" || model == "bert") return true;
  const Row* row = row_of(pre);
  return model == "gpt2" && row != nullptr && row->adds_bos;
}

Status expand_gguf(TokenizerSpec* spec) {
  if (spec->expanded) return {};
  if (spec->model == "gpt2") {
    VIBEE_TRY(expand_bpe(spec));
  } else if (spec->model == "llama") {
    spec->algorithm = TokenModel::spm;
    spaces_as_signs(spec->add_space_prefix, spec);
  } else if (spec->model == "bert") {
    expand_wordpiece(spec);
  } else if (spec->model == "t5") {
    expand_unigram(spec);
  } else {
    return error(Code::unsupported,
                 "tokenizer model {} is not known; known are gpt2 (byte-level BPE), llama (SentencePiece BPE), bert "
                 "(WordPiece), t5 (Unigram)",
                 quote(spec->model, 64));
  }
  spec->expanded = true;
  return {};
}

}  // namespace vibee
