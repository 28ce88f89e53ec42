// SPDX-License-Identifier: Apache-2.0
// /v1/embeddings and /v1/rerank: whole texts between two steps of the engine.
#include "vibee/app/http/base64.h"
#include "vibee/app/server/api_server.h"

namespace vibee {
namespace {

std::span<const uint8_t> bytes_of(std::span<const float> values) {
  return {reinterpret_cast<const uint8_t*>(values.data()), values.size_bytes()};
}

std::string usage(uint64_t tokens) {
  return fmt::format("{{\"prompt_tokens\": {}, \"total_tokens\": {}}}", tokens, tokens);
}

}  // namespace

void ApiServer::embeddings(Call call) {
  const auto body = read_body(call);
  if (!body) return;
  FieldReader fields("embeddings", *body);
  if (fields.failed) return refuse(call, *fields.failed);
  ServedModel* model = find_model(call, *body, Output::embedding);
  if (!model) return;
  std::vector<std::string> texts = fields.texts("input", 2048);
  const std::string encoding = fields.text("encoding_format", "float");
  const uint32_t width = model->model().config().dim;
  if (!fields.has("input"))
    fields.fail("input", "'input' is missing", "missing_field");
  else if (texts.empty())
    fields.fail("input", "'input' is empty");
  if (encoding != "float" && encoding != "base64")
    fields.fail("encoding_format", fmt::format("'encoding_format' is '{}'; use float or base64", encoding));
  if (fields.integer("dimensions", width, 1, 1 << 24) != width)
    fields.fail("dimensions", fmt::format("'dimensions' may be {} alone: the model was not made to be cut", width));
  if (fields.failed) return refuse(call, *fields.failed);
  if (is_late(call)) return;
  between_steps(
      std::move(call), *model, "input",
      [texts = std::move(texts), encoding, id = model->id](Session& session, Engine&,
                                                           const std::function<bool()>& gone) -> Result<std::string> {
        VIBEE_ASSIGN(const std::vector<Embedding> embeddings, embed(session, texts, {}, gone));
        uint64_t tokens = 0;
        std::vector<std::string> data;
        for (size_t i = 0; i < embeddings.size(); ++i) {
          const Embedding& e = embeddings[i];
          tokens += e.text.tokens;
          std::vector<std::string> numbers;
          if (encoding == "float")
            for (const float v : e.values) numbers.push_back(json_float(v));
          const std::string values =
              encoding == "float" ? json_array(numbers) : json_quote(base64_encode(bytes_of(e.values)));
          data.push_back(fmt::format("{{\"object\": \"embedding\", \"index\": {}, \"embedding\": {}}}", i, values));
        }
        return fmt::format("{{\"object\": \"list\", \"data\": {}, \"model\": {}, \"usage\": {}}}", json_array(data),
                           json_quote(id), usage(tokens));
      });
}

void ApiServer::rank(Call call) {
  const auto body = read_body(call);
  if (!body) return;
  FieldReader fields("rerank", *body);
  if (fields.failed) return refuse(call, *fields.failed);
  ServedModel* model = find_model(call, *body, Output::scores);
  if (!model) return;
  const std::string query = fields.text("query");
  std::vector<std::string> documents = fields.texts("documents", 2048);
  if (!fields.has("query")) fields.fail("query", "'query' is missing", "missing_field");
  if (documents.empty()) fields.fail("documents", "'documents' is missing or empty", "missing_field");
  const uint64_t best = fields.integer("top_n", documents.size(), 1, 1 << 20);
  const bool with_texts = fields.boolean("return_documents", false);
  if (fields.failed) return refuse(call, *fields.failed);
  if (is_late(call)) return;
  between_steps(std::move(call), *model, "documents",
                [documents = std::move(documents), query, best, with_texts, id = model->id](
                    Session& session, Engine&, const std::function<bool()>& gone) -> Result<std::string> {
                  VIBEE_ASSIGN(const std::vector<Ranked> ranked, rerank(session, query, documents, {}, gone));
                  uint64_t tokens = 0;
                  for (const Ranked& r : ranked) tokens += r.text.tokens;
                  std::vector<std::string> results;
                  for (const Ranked& r : ranked) {
                    if (results.size() == best) break;
                    JsonObject o;
                    o.integer("index", r.index).number("relevance_score", r.score);
                    if (with_texts) o.raw("document", JsonObject().text("text", documents[r.index]).str());
                    results.push_back(o.str());
                  }
                  return fmt::format("{{\"object\": \"list\", \"results\": {}, \"model\": {}, \"usage\": {}}}",
                                     json_array(results), json_quote(id), usage(tokens));
                });
}

}  // namespace vibee
