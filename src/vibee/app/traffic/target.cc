// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/traffic/target.h"

#include <thread>

#include "vibee/app/traffic/openai_stream.h"
#include "vibee/base/text/json_object.h"
#include "vibee/base/text/quote.h"
#include "vibee/core/measure/measure.h"
#include "vibee/model/weight/json.h"

namespace vibee {
namespace {

HttpHeaders headers(const Target& target, uint64_t number) {
  HttpHeaders out = {{"Content-Type", "application/json"}};
  if (!target.keys.empty()) out.emplace_back("Authorization", "Bearer " + target.keys[number % target.keys.size()]);
  return out;
}

}  // namespace

Result<std::string> json_members(std::string_view object) {
  if (object.empty()) return std::string();
  const auto json = parse_json(object);
  if (!json.ok() || !json->is(JsonValue::Kind::object))
    return error(Code::invalid, "--fields {}: {}", quote(object),
                 json.ok() ? "is no JSON object" : json.status().message());
  const size_t begin = object.find('{') + 1;
  return json->names.empty() ? std::string() : std::string(object.substr(begin, object.rfind('}') - begin));
}

Status prepare_target(Target* target, double wait_s) {
  if (target->url.path.ends_with("/v1")) target->url.path.resize(target->url.path.size() - 3);
  VIBEE_ASSIGN(const auto client, HttpClient::create(target->http));
  const Timer timer;
  for (;;) {
    const auto health = http_fetch(*client, target->url, {"GET", "/health", headers(*target, 0), ""});
    if (health.ok() && (health->status == 200 || health->status == 404)) break;
    if (timer.seconds() >= wait_s) {
      if (!health.ok()) return health.status();
      return error(Code::io, "{}/health says {}: {}; a server that is still loading may be waited for by --wait",
                   target->url.origin(), health->status, OpenAiStream::error_text(health->body));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  if (!target->model.empty()) return {};
  VIBEE_ASSIGN(const HttpResponse models,
               http_fetch(*client, target->url, {"GET", "/v1/models", headers(*target, 0), ""}, 16 << 20));
  if (models.status != 200)
    return error(Code::io, "{}/v1/models says {}: {}; name the model by --served-model, a key by --api-key",
                 target->url.origin(), models.status, OpenAiStream::error_text(models.body));
  const auto json = parse_json(models.body);
  const JsonValue* data = json.ok() ? json->find("data") : nullptr;
  const JsonValue* id = data && !data->items.empty() ? data->items.front().find("id") : nullptr;
  if (!id || !id->is(JsonValue::Kind::text))
    return error(Code::io, "{}/v1/models names no model; name it by --served-model", target->url.origin());
  target->model = id->text;
  return {};
}

std::vector<ChatMessage> messages_of(const Conversation& c, size_t turn, const std::vector<std::string>& answers) {
  std::vector<ChatMessage> out;
  if (!c.shared.empty()) out.push_back({"system", c.shared});
  for (size_t t = 0, answered = 0; t <= turn; ++t) {
    out.push_back({c.turns[t].role, c.turns[t].text});
    if (t < turn && c.turns[t].max_tokens > 0) out.push_back({"assistant", answers[answered++]});
  }
  return out;
}

std::string text_of(const std::vector<ChatMessage>& messages) {
  std::string text;
  for (const ChatMessage& m : messages) {
    if (!text.empty() && !text.ends_with(' ') && !m.content.starts_with(' ')) text += ' ';
    text += m.content;
  }
  return text;
}

Result<HttpCall> make_call(const Target& target, const Conversation& c, size_t turn,
                           const std::vector<std::string>& answers, uint64_t number) {
  const std::vector<ChatMessage> messages = messages_of(c, turn, answers);
  JsonObject body;
  body.text("model", target.model);
  if (target.chat) {
    std::vector<std::string> items;
    for (const auto& [role, content] : messages)
      items.push_back(JsonObject().text("role", role).text("content", content).str());
    body.raw("messages", json_array(items));
  } else {
    const std::string text = text_of(messages);
    if (target.send_ids) {
      std::vector<int32_t> ids;
      VIBEE_TRY(target.tokenizer->encode(text, false, &ids));
      std::string list;
      for (const int32_t id : ids) list += (list.empty() ? "" : ",") + std::to_string(id);
      body.raw("prompt", "[" + list + "]");
    } else {
      body.text("prompt", text);
    }
  }
  body.integer("max_tokens", c.turns[turn].max_tokens).boolean("stream", true);
  body.raw("stream_options", R"({"include_usage": true})").number("temperature", target.temperature);
  body.integer("seed", number);
  if (target.ignore_end) body.boolean("ignore_eos", true);
  std::string text = body.str();
  if (!target.fields.empty()) text = text.substr(0, text.size() - 1) + ", " + target.fields + "}";
  return HttpCall{"POST", target.chat ? "/v1/chat/completions" : "/v1/completions", headers(target, number),
                  std::move(text)};
}

}  // namespace vibee
