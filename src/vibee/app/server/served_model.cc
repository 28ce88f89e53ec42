// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/server/served_model.h"

#include "vibee/model/cache/digest.h"

namespace vibee {

Result<std::unique_ptr<ServedModel>> ServedModel::load(const LoadConfig& config, std::string id,
                                                       const std::string& chat_template, EngineWorker::Post post) {
  auto out = std::make_unique<ServedModel>();
  VIBEE_ASSIGN(out->worker, EngineWorker::start(config, std::move(post)));
  out->id = std::move(id);
  out->loaded_at = std::time(nullptr);
  const std::string& source = chat_template.empty() ? out->tokenizer().chat_template() : chat_template;
  if (!source.empty() && out->output() == Output::logits) {
    auto parsed = ChatTemplate::parse(source);
    if (!parsed.ok()) return parsed.take_status().within("chat template of " + out->id);
    out->chat_template = std::move(*parsed);
  }
  if (out->output() == Output::logits) out->grammars = std::make_unique<GrammarCompiler>(out->tokenizer());
  if (out->chat_template && source.find("tools") != std::string::npos) {
    out->tools = &tool_format(source);
    out->spoken = control_tokens(*out->tools, out->tokenizer());
    if (!out->spoken.empty()) out->call_grammars = std::make_unique<GrammarCompiler>(out->tokenizer(), out->spoken);
  }
  // Bytes depend on the weights and on how numbers are kept, not on threads, batch or schedule.
  for (LoadedAdapter& a : out->worker->take_adapters()) {
    const std::string& name = a.name.name;
    if (name.empty() || name == out->id || name.find(':') != std::string::npos)
      return error(Code::invalid, "--lora {}: needs a name of its own without a colon: NAME=PATH", a.name.path);
    if (!out->adapters.try_emplace(name, ServedAdapter{a.adapter, out->loaded_at}).second)
      return error(Code::invalid, "--lora {}={}: that name is given twice", name, a.name.path);
  }
  Digest digest;
  digest.update(fmt::format("{}|{}|{}|{}|{}|{}", out->model().path(), out->worker->loaded().parameters, config.kv,
                            config.act, config.outlier_threshold.value_or(kOutlierThreshold),
                            name(out->model().isa())));
  out->fingerprint = "vibee-" + digest.finish().substr(0, 16);
  return out;
}

std::variant<Json, ApiError> read_messages(const Json& messages) {
  const auto bad = [](size_t i, std::string_view what, std::string message) {
    return ApiError{400, "invalid_value", std::move(message), fmt::format("messages[{}]{}", i, what)};
  };
  constexpr size_t kMost = 2048;
  if (messages.empty()) return ApiError{400, "invalid_value", "'messages' is empty", "messages"};
  if (messages.size() > kMost)
    return ApiError{400, "invalid_value", fmt::format("'messages' has {} entries, at most {}", messages.size(), kMost),
                    "messages"};
  Json out = Json::array();
  for (size_t i = 0; i < messages.size(); ++i) {
    if (!messages[i].is_object()) return bad(i, "", fmt::format("'messages[{}]' is not an object", i));
    Json m = messages[i];
    if (!m.contains("role") || !m["role"].is_string())
      return bad(i, ".role", fmt::format("'messages[{}].role' is missing or not a string", i));
    const std::string role = m["role"];
    if (role == "developer")
      m["role"] = "system";  // as templates know it
    else if (role != "system" && role != "user" && role != "assistant" && role != "tool")
      return bad(i, ".role",
                 fmt::format("'messages[{}].role' is '{}'; use system, developer, user, assistant or tool", i, role));
    if (m.contains("content") && m["content"].is_array()) {
      std::string text;
      for (size_t k = 0; k < m["content"].size(); ++k) {
        const Json& part = m["content"][k];
        const std::string type = part.is_object() ? part.value("type", "") : "";
        if ((type != "text" && type != "refusal") || !part.contains(type) || !part[type].is_string())
          return bad(i, fmt::format(".content[{}]", k),
                     fmt::format("'messages[{}].content[{}]' is no text part: this server takes text alone", i, k));
        text += part[type].get<std::string>();
      }
      m["content"] = text;
    }
    const bool calls = m.contains("tool_calls") && m["tool_calls"].is_array() && !m["tool_calls"].empty();
    if (!m.contains("content") || m["content"].is_null()) {
      if (role != "assistant" || !calls) return bad(i, ".content", fmt::format("'messages[{}].content' is missing", i));
      m["content"] = "";
    } else if (!m["content"].is_string()) {
      return bad(i, ".content", fmt::format("'messages[{}].content' is neither a string nor an array of parts", i));
    }
    // The interface carries arguments as text, templates print them as an object.
    if (calls) {
      for (Json& call : m["tool_calls"]) {
        if (!call.is_object() || !call.contains("function") || !call["function"].is_object())
          return bad(i, ".tool_calls", fmt::format("'messages[{}].tool_calls' has an entry without a function", i));
        Json& f = call["function"];
        if (!f.contains("arguments") || !f["arguments"].is_string()) continue;
        Json parsed = Json::parse(f["arguments"].get<std::string>(), nullptr, false);
        if (parsed.is_object()) f["arguments"] = std::move(parsed);
      }
    }
    out.push_back(std::move(m));
  }
  return out;
}

PromptEnd read_prompt_end(FieldReader& fields) {
  const bool open = fields.boolean("continue_final_message", false);
  const bool answer = fields.boolean("add_generation_prompt", !open);
  if (open && answer)
    fields.fail("continue_final_message", "'continue_final_message' and 'add_generation_prompt' exclude one another");
  return open ? PromptEnd::open_message : answer ? PromptEnd::answer : PromptEnd::message;
}

Result<std::string> render_chat(const ServedModel& model, const Json& messages, const Json* tools, const Json* extra,
                                PromptEnd end) {
  if (!model.chat_template)
    return error(Code::unsupported, "{} has no chat template; use /v1/completions to continue a text", model.id);
  const Tokenizer& tokenizer = model.tokenizer();
  Json context;
  if (extra != nullptr) context = *extra;
  context["messages"] = messages;
  if (tools != nullptr) context["tools"] = *tools;
  context["add_generation_prompt"] = end == PromptEnd::answer;
  context["bos_token"] = std::string(tokenizer.piece(tokenizer.bos()));
  context["eos_token"] = std::string(tokenizer.piece(tokenizer.eos()));
  VIBEE_ASSIGN(std::string text, model.chat_template->render(context));
  if (end != PromptEnd::open_message) return text;
  // Templates may strip what they print: the text is found without white space at its ends, and cut behind it.
  constexpr char kSpace[] = " \t\r\n";
  const std::string last = messages.back()["content"].get<std::string>();
  const size_t first = last.find_first_not_of(kSpace), behind = last.find_last_not_of(kSpace) + 1;
  const bool ours = messages.back()["role"] == "assistant" && first != std::string::npos;
  const size_t at = ours ? text.rfind(last.substr(first, behind - first)) : std::string::npos;
  if (at == std::string::npos)
    return error(Code::invalid,
                 "'continue_final_message' needs a last message of the assistant that the template prints as it is");
  return text.substr(0, at + behind - first) + last.substr(behind);
}

}  // namespace vibee
