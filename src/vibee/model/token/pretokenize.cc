// SPDX-License-Identifier: Apache-2.0
// The patterns run on PCRE2 (UTF, UCP, JIT). Text is first cut at bytes that are not UTF-8; such a run is a word of its
// own.
#define PCRE2_CODE_UNIT_WIDTH 8
#include "vibee/model/token/pretokenize.h"

#include <pcre2.h>

#include <algorithm>
#include <span>

#include "vibee/model/token/utf8.h"

namespace vibee {
namespace {

// White space is spelled out: \s of PCRE2 also takes U+180E, which is no white space in the Unicode of the other
// engines.
#define VIBEE_WS "\\x{9}-\\x{d}\\x{85}\\p{Z}"
#define VIBEE_CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define VIBEE_SPACES "[" VIBEE_WS "]*[\\r\\n]+|[" VIBEE_WS "]+(?![^" VIBEE_WS "])|[" VIBEE_WS "]+"
#define VIBEE_OTHER " ?[^" VIBEE_WS "\\p{L}\\p{N}]+"
// One word of mixed case: capitals then small letters, as o200k cuts it.
#define VIBEE_UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define VIBEE_LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"

constexpr const char* kGpt2 =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+|" VIBEE_OTHER "|[" VIBEE_WS "]+(?![^" VIBEE_WS "])|[" VIBEE_WS "]+";
constexpr const char* kLlama3 =
    VIBEE_CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|" VIBEE_OTHER "[\\r\\n]*|" VIBEE_SPACES;
constexpr const char* kQwen2 =
    VIBEE_CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|" VIBEE_OTHER "[\\r\\n]*|" VIBEE_SPACES;
constexpr const char* kQwen35 = VIBEE_CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^" VIBEE_WS
                                                   "\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" VIBEE_SPACES;
constexpr const char* kO200k =
    "[^\\r\\n\\p{L}\\p{N}]?" VIBEE_UPPER "*" VIBEE_LOWER "+" VIBEE_CONTRACTIONS "?|[^\\r\\n\\p{L}\\p{N}]?" VIBEE_UPPER
    "+" VIBEE_LOWER "*" VIBEE_CONTRACTIONS "?|\\p{N}{1,3}|" VIBEE_OTHER "[\\r\\n/]*|" VIBEE_SPACES;
constexpr const char* kTekken =
    "[^\\r\\n\\p{L}\\p{N}]?" VIBEE_UPPER "*" VIBEE_LOWER "+|[^\\r\\n\\p{L}\\p{N}]?" VIBEE_UPPER "+" VIBEE_LOWER
    "*|\\p{N}|" VIBEE_OTHER "[\\r\\n/]*|" VIBEE_SPACES;
constexpr const char* kDigit = "\\p{N}";
constexpr const char* kDefaultPunctuation = "[\\p{P}\\$\\+<=>\\^~\\|]+";
constexpr const char* kFalconPunctuation = "[\\p{P}\\$\\+<=>\\^~\\|`]+";
constexpr const char* kNumbers = "\\p{N}+";
constexpr const char* kThreeDigits = "[0-9][0-9][0-9]";

struct Row {
  const char* name;
  const char* patterns[4];
  bool whole_words = false;
  bool adds_bos = false;
};

constexpr Row kRows[] = {
    {"gpt-2", {kGpt2}},
    {"phi-2", {kGpt2}},
    {"mpt", {kGpt2}},
    {"olmo", {kGpt2}},
    {"jais", {kGpt2}},
    {"mellum", {kGpt2}},
    {"exaone4", {kGpt2}},
    {"gigachat", {kGpt2}},
    {"smollm", {kDigit, kGpt2}},
    {"starcoder", {kDigit, kGpt2}},
    {"refact", {kDigit, kGpt2}},
    {"command-r", {kDigit, kGpt2}},
    {"codeshell", {kDigit, kGpt2}},
    {"exaone", {kDigit, kGpt2}},
    {"minerva-7b", {kDigit, kGpt2}},
    {"default", {kDefaultPunctuation, kGpt2, kNumbers, kThreeDigits}},
    {"falcon", {kFalconPunctuation, kGpt2, kThreeDigits}},
    {"llama-bpe", {kLlama3}, true, true},
    {"llama3", {kLlama3}, true, true},
    {"llama-v3", {kLlama3}, true, true},
    {"falcon3", {kLlama3}, true, true},
    {"pixtral", {kLlama3}, true, true},
    {"lfm2", {kLlama3}, true, true},
    {"chatglm-bpe", {kLlama3}, true, false},
    {"glm4", {kLlama3}, true, false},
    {"dbrx", {kLlama3}},
    {"smaug-bpe", {kLlama3}},
    {"qwen2", {kQwen2}},
    {"stablelm2", {kQwen2}},
    {"megrez", {kQwen2}},
    {"deepseek-r1-qwen", {kQwen2}},
    {"hunyuan", {kQwen2}},
    {"qwen35", {kQwen35}},
    {"gpt-4o", {kO200k}},
    {"llama4", {kO200k}},
    {"tekken", {kTekken}, true, true},
};

struct FreeMatchData {
  void operator()(pcre2_match_data* p) const { pcre2_match_data_free(p); }
};
struct FreeMatchContext {
  void operator()(pcre2_match_context* p) const { pcre2_match_context_free(p); }
};

}  // namespace

struct PreTokenizer::Pattern {
  explicit Pattern(pcre2_code* code) : code(code) {}
  Pattern(const Pattern&) = delete;
  Pattern& operator=(const Pattern&) = delete;
  ~Pattern() { pcre2_code_free(code); }

  /// Splits one valid piece; what no match covers is a word too.
  Status split(std::string_view piece, pcre2_match_data* data, pcre2_match_context* context,
               std::vector<std::string_view>* words) const {
    const auto* subject = reinterpret_cast<PCRE2_SPTR>(piece.data());
    size_t done = 0;
    while (done < piece.size()) {
      int found = pcre2_match(code, subject, piece.size(), done, PCRE2_NO_UTF_CHECK, data, context);
      if (found == PCRE2_ERROR_JIT_STACKLIMIT) {
        found = pcre2_match(code, subject, piece.size(), done, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, data, context);
      }
      if (found == PCRE2_ERROR_NOMATCH) break;
      if (found < 0) {
        return error(Code::invalid,
                     "text cannot be cut into words at byte {} of {} (PCRE2 error {}): shorten or break up the text",
                     done, piece.size(), found);
      }
      const size_t begin = pcre2_get_ovector_pointer(data)[0], end = pcre2_get_ovector_pointer(data)[1];
      VIBEE_CHECK(begin < end && begin >= done, "pattern matched nothing at {}", begin);
      if (begin > done) words->push_back(piece.substr(done, begin - done));
      words->push_back(piece.substr(begin, end - begin));
      done = end;
    }
    if (done < piece.size()) words->push_back(piece.substr(done));
    return {};
  }

  pcre2_code* code;
};

PreTokenizer::PreTokenizer() = default;
PreTokenizer::PreTokenizer(PreTokenizer&&) noexcept = default;
PreTokenizer& PreTokenizer::operator=(PreTokenizer&&) noexcept = default;
PreTokenizer::~PreTokenizer() = default;

std::string PreTokenizer::known_names() {
  std::string names;
  for (const Row& row : kRows) {
    if (!names.empty()) names += ", ";
    names += row.name;
  }
  return names;
}

Result<PreTokenizer> PreTokenizer::make(std::string_view name) {
  const Row* row = std::find_if(std::begin(kRows), std::end(kRows), [&](const Row& r) { return name == r.name; });
  if (row == std::end(kRows)) {
    return error(Code::unsupported, "pre-tokenizer \"{}\" is not known; known are {}", name.substr(0, 64),
                 known_names());
  }
  PreTokenizer made;
  made.whole_words_ = row->whole_words;
  made.adds_bos_ = row->adds_bos;
  for (const char* pattern : row->patterns) {
    if (pattern == nullptr) break;
    int code = 0;
    size_t offset = 0;
    pcre2_code* compiled = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern), PCRE2_ZERO_TERMINATED,
                                         PCRE2_UTF | PCRE2_UCP, &code, &offset, nullptr);
    VIBEE_CHECK(compiled != nullptr, "pattern of pre-tokenizer {}: PCRE2 error {} at {}", name, code, offset);
    pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE);  // where it cannot, matching interprets: slower, same words
    made.patterns_.push_back(std::make_unique<Pattern>(compiled));
  }
  return made;
}

Status PreTokenizer::split(std::string_view text, std::vector<std::string_view>* words) const {
  const std::unique_ptr<pcre2_match_data, FreeMatchData> data(pcre2_match_data_create(1, nullptr));
  const std::unique_ptr<pcre2_match_context, FreeMatchContext> context(pcre2_match_context_create(nullptr));
  if (!data || !context) return error(Code::no_memory, "no memory to cut a text of {} bytes into words", text.size());
  // One match may walk back over one long run once or twice, never more: the limit is linear in the text.
  pcre2_set_match_limit(context.get(), uint32_t(std::min<uint64_t>(text.size() * 8 + 1000000, 0xffffffffu)));

  std::vector<std::string_view> pieces, next;
  for (size_t i = 0; i < text.size();) {
    const bool good = utf8_step(text.substr(i)).kind == Utf8Step::character;
    size_t end = i;
    while (end < text.size()) {
      const Utf8Step step = utf8_step(text.substr(end));
      if ((step.kind == Utf8Step::character) != good) break;
      end += step.length;
    }
    pieces.clear();
    pieces.push_back(text.substr(i, end - i));
    for (const auto& pattern : patterns_) {
      if (!good) break;
      next.clear();
      for (const std::string_view piece : pieces) VIBEE_TRY(pattern->split(piece, data.get(), context.get(), &next));
      std::swap(pieces, next);
    }
    words->insert(words->end(), pieces.begin(), pieces.end());
    i = end;
  }
  return {};
}

}  // namespace vibee
