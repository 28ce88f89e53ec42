// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/jobs/embed.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace vibee {
namespace {

/// A text, or a query and a document, as the model reads it.
struct Tokens {
  std::vector<int32_t> ids, types;
  TextStats stats;
};

/// Cuts the longer of two texts, token by token, until both fit `room`.
uint32_t cut_to(size_t room, std::vector<int32_t>* first, std::vector<int32_t>* second) {
  const size_t all = first->size() + second->size(), over = all > room ? all - room : 0;
  for (size_t i = 0; i < over; ++i) (first->size() > second->size() ? first : second)->pop_back();
  return uint32_t(over);
}

Result<Tokens> encode(const Session& session, const std::string& text, const std::string* second,
                      const EmbedConfig& config) {
  const Tokenizer& tokenizer = session.model().tokenizer();
  const uint32_t most = std::min(session.options().context, session.model().config().text_tokens);
  std::vector<int32_t> a, b;
  // Texts are data: what is spelled like a control token stays text.
  VIBEE_TRY(tokenizer.encode(text, false, &a));
  if (second != nullptr) VIBEE_TRY(tokenizer.encode(*second, false, &b));
  const std::vector<int32_t> nothing;
  const size_t around = tokenizer.wrap(nothing, second ? &nothing : nullptr).size();
  if (around >= most) return error(Code::invalid, "{} tokens are no room for a text; use a larger --ctx", most);
  const size_t all = a.size() + b.size() + around;
  if (all > most && !config.truncate)
    return error(Code::invalid, "{} tokens, at most {} fit; shorten it or cut its end with --truncate", all, most);
  Tokens out;
  out.stats.cut = cut_to(most - around, &a, &b);
  out.ids = tokenizer.wrap(a, second ? &b : nullptr, &out.types);
  out.stats.tokens = uint32_t(out.ids.size());
  if (out.ids.empty()) return error(Code::invalid, "it is empty, and the model puts no tokens around a text");
  // Models without token types read both texts alike.
  if (session.model().config().token_types == 0) out.types.clear();
  return out;
}

/// One row of the model's output a text, as many texts a step as fit.
Status run_whole(Session& session, std::span<const Tokens> texts, const std::function<bool()>& cancelled,
                 const std::function<void(size_t, std::span<const float>)>& take) {
  const SessionOptions& o = session.options();
  for (size_t first = 0, last = 0; first < texts.size(); first = last) {
    if (cancelled && cancelled()) return error(Code::cancelled, "stopped");
    std::vector<SequenceState> states;
    std::vector<StepRows> rows;
    states.reserve(o.max_logits);
    for (uint64_t tokens = 0; last < texts.size() && rows.size() < std::min(o.max_logits, o.sequences); ++last) {
      tokens += texts[last].ids.size();
      if (tokens > o.max_rows) break;
      states.push_back(session.new_sequence());
      rows.push_back({&states.back(), texts[last].ids, 1, texts[last].types});
    }
    VIBEE_ASSIGN(const std::span<float> out, session.step(rows));
    const size_t width = out.size() / rows.size();
    for (size_t i = 0; i < rows.size(); ++i) take(first + i, out.subspan(i * width, width));
  }
  return {};
}

/// To length one; a vector of zeros stays as it is.
void normalise(std::span<float> x) {
  double squares = 0;
  for (float v : x) squares += double(v) * v;
  const double length = std::max(std::sqrt(squares), 1e-12);
  for (float& v : x) v = float(v / length);
}

}  // namespace

void set_embed_defaults(LoadConfig* config) {
  config->output = Output::embedding;
  config->batch = 64;
  config->chunk = 512;
  config->kv = "f32";
}

Result<std::vector<Embedding>> embed(Session& session, std::span<const std::string> texts, const EmbedConfig& config,
                                     const std::function<bool()>& cancelled) {
  const ModelConfig& model = session.model().config();
  VIBEE_CHECK(model.output == Output::embedding);
  std::vector<Tokens> tokens;
  std::vector<Embedding> out(texts.size());
  for (size_t i = 0; i < texts.size(); ++i) {
    auto encoded = encode(session, texts[i], nullptr, config);
    if (!encoded.ok()) return encoded.take_status().within(fmt::format("text {}", i + 1));
    out[i].text = encoded->stats;
    tokens.push_back(std::move(*encoded));
  }
  VIBEE_TRY(run_whole(session, tokens, cancelled, [&](size_t i, std::span<const float> row) {
    out[i].values.assign(row.begin(), row.end());
    if (config.normalise.value_or(model.normalise)) normalise(out[i].values);
  }));
  return out;
}

Result<std::vector<Ranked>> rerank(Session& session, const std::string& query, std::span<const std::string> documents,
                                   const EmbedConfig& config, const std::function<bool()>& cancelled) {
  const ModelConfig& model = session.model().config();
  VIBEE_CHECK(model.output == Output::scores);
  std::vector<Tokens> tokens;
  std::vector<Ranked> out(documents.size());
  for (size_t i = 0; i < documents.size(); ++i) {
    auto encoded = encode(session, query, &documents[i], config);
    if (!encoded.ok()) return encoded.take_status().within(fmt::format("document {} with its query", i + 1));
    out[i].index = uint32_t(i);
    out[i].text = encoded->stats;
    tokens.push_back(std::move(*encoded));
  }
  VIBEE_TRY(run_whole(session, tokens, cancelled, [&](size_t i, std::span<const float> row) {
    out[i].logit = row[0];
    out[i].score = model.sigmoid ? float(1 / (1 + std::exp(-double(row[0])))) : row[0];
  }));
  // A score of no number is last.
  const auto key = [](const Ranked& r) { return std::isnan(r.logit) ? -INFINITY : r.logit; };
  std::stable_sort(out.begin(), out.end(), [&](const Ranked& a, const Ranked& b) { return key(a) > key(b); });
  return out;
}

}  // namespace vibee
