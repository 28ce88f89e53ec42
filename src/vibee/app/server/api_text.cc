// SPDX-License-Identifier: Apache-2.0
// /tokenize, /detokenize and /apply-template.
#include "vibee/app/server/api_server.h"
#include "vibee/app/server/completion_request.h"
#include "vibee/model/token/detokenizer.h"

namespace vibee {

void ApiServer::tokenize(Call call) {
  const auto body = read_body(call);
  if (!body) return;
  FieldReader fields("tokenize", *body);
  if (!fields.has("content")) fields.fail("content", "'content' is missing", "missing_field");
  const std::string text = fields.text("content");
  const bool add = fields.boolean("add_special", false), special = fields.boolean("parse_special", true);
  const bool pieces = fields.boolean("with_pieces", false);
  if (fields.failed) return refuse(call, *fields.failed);
  ServedModel* model = find_model(call, *body, {});
  if (!model) return;
  const Tokenizer& tokenizer = model->tokenizer();
  std::vector<int32_t> ids;
  if (const Status s = tokenizer.encode(text, special, &ids); !s.ok()) {
    ApiError e = api_error(s);
    e.param = "content";
    return refuse(call, e);
  }
  if (add) ids = tokenizer.wrap(ids);
  std::vector<std::string> out;
  for (const int32_t id : ids) {
    if (!pieces) {
      out.push_back(std::to_string(id));
      continue;
    }
    const std::string_view piece = tokenizer.piece(id);
    std::string shown = json_quote(piece);
    if (valid_utf8(piece) != piece) {  // part of a character: its bytes
      std::vector<std::string> bytes;
      for (const char c : piece) bytes.push_back(std::to_string(uint8_t(c)));
      shown = json_array(bytes);
    }
    out.push_back(fmt::format("{{\"id\": {}, \"piece\": {}}}", id, shown));
  }
  answer(call, fmt::format("{{\"tokens\": {}}}", json_array(out)));
}

void ApiServer::detokenize(Call call) {
  const auto body = read_body(call);
  if (!body) return;
  FieldReader fields("detokenize", *body);
  if (fields.failed) return refuse(call, *fields.failed);
  ServedModel* model = find_model(call, *body, {});
  if (!model) return;
  if (const Json* tokens = fields.find("tokens"); tokens && tokens->empty()) return answer(call, "{\"content\": \"\"}");
  const auto lists = read_inputs(fields, "tokens", model->tokenizer(), 1);
  if (!fields.failed && lists[0].is_text) fields.fail("tokens", "'tokens' has no token ids", "invalid_type");
  if (fields.failed) return refuse(call, *fields.failed);
  answer(call, "{\"content\": " + json_quote(decode(model->tokenizer(), lists[0].tokens)) + "}");
}

void ApiServer::apply_template(Call call) {
  const auto body = read_body(call);
  if (!body) return;
  FieldReader fields("apply_template", *body);
  if (!fields.failed && !fields.has("messages")) fields.fail("messages", "'messages' is missing", "missing_field");
  const PromptEnd end = read_prompt_end(fields);
  if (fields.failed) return refuse(call, *fields.failed);
  ServedModel* model = find_model(call, *body, {});
  if (!model) return;
  const auto messages = read_messages(*fields.find("messages"));
  if (const auto* wrong = std::get_if<ApiError>(&messages)) return refuse(call, *wrong);
  const auto text =
      render_chat(*model, std::get<Json>(messages), fields.find("tools"), fields.find("chat_template_kwargs"), end);
  if (!text.ok()) return refuse(call, api_error(text.status()));
  answer(call, "{\"prompt\": " + json_quote(*text) + "}");
}

}  // namespace vibee
