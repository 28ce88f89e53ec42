// SPDX-License-Identifier: Apache-2.0
#include "vibee/train/data/tokenizer_train.h"

#include <algorithm>
#include <memory>
#include <set>
#include <unordered_map>

#include "vibee/base/text/quote.h"
#include "vibee/core/measure/measure.h"
#include "vibee/model/token/decode_token.h"
#include "vibee/model/token/gguf_pre.h"
#include "vibee/model/token/pretokenize.h"
#include "vibee/model/token/text_index.h"
#include "vibee/model/token/tokenizer.h"
#include "vibee/model/token/utf8.h"
#include "vibee/train/data/bpe_train.h"

namespace vibee {
namespace {

struct TextHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return hash_bytes(text); }
};
using Counts = std::unordered_map<std::string, uint64_t, TextHash, std::equal_to<>>;

void count(std::string_view word, uint64_t times, Counts* counts) {
  const auto at = counts->find(word);
  if (at != counts->end()) {
    at->second += times;
  } else {
    counts->emplace(word, times);
  }
}

std::string printable(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) append_utf8(kByteToChar[uint8_t(c)], &out);
  return out;
}

/// The texts of a document: it, or what its messages say.
template <class F>
Status each_text(const TextDocument& document, const F& visit) {
  if (document.messages.empty()) return visit(document.text);
  for (const ChatMessage& message : document.messages) VIBEE_TRY(visit(message.content));
  return {};
}

/// Every thread counts for itself; a text is cut into parts by `parts(text, add)`.
template <class Parts>
Result<Counts> count_parts(const TokenizerTraining& config, const Parts& parts, const TrainProgress& progress,
                           uint64_t* read) {
  std::vector<Counts> mine(config.scan.threads);
  ScanWork work;
  work.work = [&](size_t, uint32_t tid, const TextDocument& document) {
    return each_text(document, [&](const std::string& text) {
      return parts(text, [&](std::string_view part) { count(part, 1, &mine[tid]); });
    });
  };
  if (progress) work.progress = [&](uint64_t done) { return progress("read", done); };
  VIBEE_ASSIGN(*read, scan_documents(config.scan, work));
  for (size_t t = 1; t < mine.size(); ++t) {
    for (const auto& [text, times] : mine[t]) count(text, times, &mine[0]);
    mine[t].clear();
  }
  return std::move(mine[0]);
}

Status check(const TokenizerTraining& config) {
  std::set<std::string_view> seen;
  for (const std::string& text : config.special) {
    if (text.empty() || !seen.insert(text).second)
      return error(Code::invalid, "special token {} is empty or stands twice", quote(text));
  }
  const size_t fixed = config.special.size() + 256;
  if (!config.characters && (config.vocabulary < fixed || config.vocabulary > size_t(TextIndex::kMaxId)))
    return error(Code::invalid,
                 "a vocabulary of {} tokens: from {} (256 bytes and the special ones) to {} are possible",
                 config.vocabulary, fixed, TextIndex::kMaxId);
  return {};
}

Result<TokenizerSpec> begin_spec(const TokenizerTraining& config) {
  TokenizerSpec spec;
  spec.model = "gpt2";
  spec.tokens = config.special;
  spec.types.assign(spec.tokens.size(), uint8_t(TokenType::control));
  if (!spec.tokens.empty()) spec.eos = 0;
  spec.pre = config.pre;
  VIBEE_TRY(expand_gguf(&spec));
  if (spec.pre_tokenizers.empty() || spec.pre_tokenizers.back().kind != PreTokenizerStep::byte_level)
    return error(Code::unsupported, "pre-tokenizer {} does not cut bytes; only such ones can be trained",
                 quote(config.pre));
  return spec;
}

Status learn_characters(const TokenizerTraining& config, const TrainProgress& progress, TrainedTokenizer* out) {
  const auto parts = [](std::string_view text, const auto& add) -> Status {
    for (size_t i = 0; i < text.size();) {
      const uint8_t length = utf8_step(text.substr(i)).length;
      add(text.substr(i, length));
      i += length;
    }
    return {};
  };
  VIBEE_ASSIGN(const Counts counts, count_parts(config, parts, progress, &out->read));
  out->words = counts.size();
  // The byte-level form, which every format of tokenizers can say: a character of several bytes is merged from them.
  std::set<std::string> texts, prefixes;
  for (const auto& [text, times] : counts) {
    for (const char byte : text) texts.insert(std::string(1, byte));
    for (size_t n = 2; n <= text.size(); ++n) prefixes.insert(text.substr(0, n));
  }
  texts.insert(prefixes.begin(), prefixes.end());
  TokenizerSpec& spec = out->spec;
  for (const std::string& text : texts) {
    const std::string token = printable(text);
    if (std::find(config.special.begin(), config.special.end(), token) == config.special.end())
      spec.tokens.push_back(token);
  }
  for (size_t n = 2; n <= 4; ++n)
    for (const std::string& text : prefixes)
      if (text.size() == n)
        spec.merges.push_back({printable(text), uint32_t(printable(text.substr(0, n - 1)).size())});
  return {};
}

Status learn_bpe(const TokenizerTraining& config, const TrainProgress& progress, TrainedTokenizer* out) {
  TokenizerSpec& spec = out->spec;
  VIBEE_ASSIGN(const PreTokenizer pre, PreTokenizer::make(spec.pre_tokenizers));
  const Timer counting;
  const auto parts = [&](std::string_view text, const auto& add) -> Status {
    Words words;
    VIBEE_TRY(pre.split(text, true, &words));
    for (const std::string_view word : words.list) add(word);
    return {};
  };
  VIBEE_ASSIGN(Counts counts, count_parts(config, parts, progress, &out->read));
  out->words = counts.size();
  out->count_seconds = counting.seconds();

  // The 256 bytes by the characters that they are written as.
  std::array<uint32_t, 256> byte_id{};
  std::vector<std::pair<uint32_t, uint32_t>> alphabet;
  for (uint32_t b = 0; b < 256; ++b) alphabet.emplace_back(kByteToChar[b], b);
  std::sort(alphabet.begin(), alphabet.end());
  for (const auto& [character, byte] : alphabet) {
    byte_id[byte] = uint32_t(spec.tokens.size());
    spec.tokens.push_back(printable(std::string(1, char(byte))));
  }
  std::vector<CountedWord> words;
  for (const auto& [text, times] : counts) {
    if (text.size() < 2) continue;
    CountedWord& word = words.emplace_back();
    word.count = times;
    for (const char c : text) word.symbols.push_back(byte_id[uint8_t(c)]);
  }
  counts.clear();
  const Timer merging;
  const auto made = [&](uint64_t ids) { return !progress || progress("merge", ids); };
  VIBEE_ASSIGN(const std::vector<LearntMerge> merges,
               learn_merges(std::move(words), &spec.tokens, config.vocabulary, config.least, made));
  for (const LearntMerge& merge : merges) {
    const std::string &left = spec.tokens[merge.left], &right = spec.tokens[merge.right];
    spec.merges.push_back({left + right, uint32_t(left.size())});
  }
  out->merge_seconds = merging.seconds();
  return {};
}

}  // namespace

Result<TrainedTokenizer> train_tokenizer(const TokenizerTraining& config, const TrainProgress& progress) {
  VIBEE_TRY(check(config));
  TrainedTokenizer out;
  VIBEE_ASSIGN(out.spec, begin_spec(config));
  VIBEE_TRY(config.characters ? learn_characters(config, progress, &out) : learn_bpe(config, progress, &out));
  out.spec.types.resize(out.spec.tokens.size(), uint8_t(TokenType::normal));
  return out;
}

}  // namespace vibee
