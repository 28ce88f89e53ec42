// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/traffic/openai_stream.h"

#include <algorithm>

#include "vibee/base/text/quote.h"
#include "vibee/model/weight/json.h"

namespace vibee {
namespace {

constexpr size_t kLongestText = 16 << 20;  // bytes of an answer that are kept

void set_count(const JsonValue& object, std::string_view name, uint64_t* to) {
  const JsonValue* v = object.find(name);
  if (v && v->is(JsonValue::Kind::integer) && v->integer >= 0) *to = uint64_t(v->integer);
}

const std::string* text_of(const JsonValue& object, std::string_view name) {
  const JsonValue* v = object.find(name);
  return v && v->is(JsonValue::Kind::text) ? &v->text : nullptr;
}

}  // namespace

std::string OpenAiStream::error_text(std::string_view body) {
  const auto json = parse_json(body);
  if (json.ok()) {
    const JsonValue* e = json->find("error");
    if (e && e->is(JsonValue::Kind::text)) return one_line(e->text.substr(0, 300));
    const std::string* message = text_of(e ? *e : *json, "message");
    if (message) return one_line(message->substr(0, 300));
  }
  return quote(body, 200);
}

void OpenAiStream::feed(std::string_view bytes, double at_s, RequestRecord* record) {
  if (!record->error.empty()) return;
  const Status fed = parser_.feed(bytes, [&](const SseEvent& event) { take(event, at_s, record); });
  if (!fed.ok() && record->error.empty()) record->error = fed.message();
}

void OpenAiStream::take(const SseEvent& event, double at_s, RequestRecord* r) {
  if (!r->error.empty()) return;
  if (event.data == "[DONE]") {
    r->finished = true;
    return;
  }
  const auto json = parse_json(event.data);
  if (!json.ok() || !json->is(JsonValue::Kind::object)) {
    r->error = fmt::format("an event of the stream is no JSON object: {}", quote(event.data));
    return;
  }
  if (json->find("error") || event.type == "error") {
    r->error = "the server says: " + error_text(event.data);
    return;
  }
  if (const JsonValue* usage = json->find("usage")) {
    set_count(*usage, "prompt_tokens", &r->prompt_tokens);
    const JsonValue* output = usage->find("completion_tokens");
    if (output && output->is(JsonValue::Kind::integer) && output->integer >= 0) {
      r->output_tokens = uint64_t(output->integer);
      r->counted = true;
    }
    if (const JsonValue* details = usage->find("prompt_tokens_details"))
      set_count(*details, "cached_tokens", &r->cached_tokens);
  }
  const JsonValue* choices = json->find("choices");
  if (!choices || !choices->is(JsonValue::Kind::array) || choices->items.empty()) return;
  const size_t before = r->text.size();
  for (const JsonValue& choice : choices->items) {
    if (text_of(choice, "finish_reason")) r->finished = true;
    const JsonValue* delta = choice.find("delta");
    for (const std::string* text : {text_of(choice, "text"), delta ? text_of(*delta, "content") : nullptr,
                                    delta ? text_of(*delta, "reasoning_content") : nullptr})
      if (text && r->text.size() + text->size() <= kLongestText) r->text += *text;
  }
  if (r->first_text_s < 0 && r->text.size() > before) r->first_text_s = at_s;
  r->pieces.push_back({at_s, uint32_t(r->text.size())});
}

}  // namespace vibee
