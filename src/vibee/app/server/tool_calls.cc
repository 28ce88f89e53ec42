// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/server/tool_calls.h"

#include <algorithm>

namespace vibee {
namespace {

constexpr char kSpace[] = " \t\r\n";

constexpr ToolFormat kFormats[] = {
    {"hermes", "<tool_call>", "<tool_call>", "</tool_call>", false},
    {"mistral", "[TOOL_CALLS]", "[TOOL_CALLS]", "", true},
    {"llama3", "<|python_tag|>", "<|python_tag|>", "", false},
    {"json", "", "", "", false},
};

/// The calls that `text` is, or none: an object of name and arguments (or parameters), or a list of them.
std::vector<ToolCall> read_calls(std::string_view text) {
  const Json j = Json::parse(text.begin(), text.end(), nullptr, false);
  std::vector<ToolCall> out;
  const auto add = [&](const Json& call) {
    if (!call.is_object() || !call.contains("name") || !call["name"].is_string()) return false;
    const auto arguments = call.contains("arguments") ? call.find("arguments") : call.find("parameters");
    if (arguments == call.end()) return false;
    // Some models write the arguments as text.
    out.push_back({call["name"], arguments->is_string() ? arguments->get<std::string>() : arguments->dump()});
    return true;
  };
  if (!j.is_array()) return add(j) ? out : std::vector<ToolCall>();
  for (const Json& call : j)
    if (!add(call)) return {};
  return out;
}

/// How many characters at the end of `text` could be the beginning of `word`.
size_t may_become(std::string_view text, std::string_view word) {
  size_t n = std::min(text.size(), word.size() - 1);
  while (n > 0 && !text.ends_with(word.substr(0, n))) --n;
  return n;
}

}  // namespace

const ToolFormat& tool_format(std::string_view chat_template) {
  return *std::find_if(std::begin(kFormats), std::end(kFormats),
                       [&](const ToolFormat& f) { return chat_template.find(f.marker) != chat_template.npos; });
}

std::optional<ApiError> check_tools(const Json& tools) {
  constexpr size_t kMost = 128;
  if (tools.size() > kMost)
    return ApiError{400, "invalid_value", fmt::format("'tools' has {} entries, at most {}", tools.size(), kMost),
                    "tools"};
  for (size_t i = 0; i < tools.size(); ++i) {
    const Json& t = tools[i];
    const std::string where = fmt::format("tools[{}]", i);
    const std::string type = t.is_object() ? t.value("type", "") : "";
    if (type != "function")
      return ApiError{400, "invalid_value",
                      fmt::format("'{}.type' is '{}'; functions alone can be called", where, type), where + ".type"};
    const bool named = t.contains("function") && t["function"].is_object() && t["function"].contains("name") &&
                       t["function"]["name"].is_string();
    if (!named)
      return ApiError{400, "missing_field", fmt::format("'{}.function.name' is missing or not a string", where),
                      where + ".function.name"};
    if (t["function"].contains("parameters") && !t["function"]["parameters"].is_object())
      return ApiError{400, "invalid_type", fmt::format("'{}.function.parameters' is not a schema", where),
                      where + ".function.parameters"};
  }
  return {};
}

GrammarSource tool_call_grammar(const ToolFormat& format, const Json& tools, const ToolChoice& choice) {
  Json call = {{"anyOf", Json::array()}}, schema;
  for (const Json& t : tools) {
    const Json& f = t["function"];
    if (!choice.only.empty() && f["name"] != choice.only) continue;
    Json parameters = f.value("parameters", Json{{"type", "object"}});
    for (const char* key : {"$defs", "definitions"}) {  // references start at the root of the whole
      if (!parameters.contains(key)) continue;
      for (const auto& [name, value] : parameters[key].items()) schema[key][name] = value;
      parameters.erase(key);
    }
    call["anyOf"].push_back({{"type", "object"},
                             {"properties", {{"name", {{"const", f["name"]}}}, {"arguments", std::move(parameters)}}},
                             {"required", {"name", "arguments"}},
                             {"additionalProperties", false}});
  }
  if (format.list) {
    schema["type"] = "array";
    schema["items"] = std::move(call);
    schema["minItems"] = 1;
    if (!choice.several) schema["maxItems"] = 1;
  } else {
    schema["anyOf"] = std::move(call["anyOf"]);
  }
  const bool parts = !format.list && !format.end.empty();  // without an end nothing can follow
  const Json source = {{"begin", format.begin},
                       {"end", format.end},
                       {"schema", std::move(schema)},
                       {"free", !choice.required},
                       {"several", choice.several && parts}};
  return {GrammarSource::tagged, source.dump()};
}

std::vector<int32_t> control_tokens(const ToolFormat& format, const Tokenizer& tokenizer) {
  std::vector<int32_t> out;
  for (int32_t id = 0; id < tokenizer.size(); ++id) {
    const std::string_view text = tokenizer.piece(id);
    if (tokenizer.is_control(id) && !text.empty() && (text == format.begin || text == format.end)) out.push_back(id);
  }
  return out;
}

void ToolCallParser::say(std::string_view text, Pieces* out) {
  if (behind_) {
    const size_t first = text.find_first_not_of(kSpace);
    if (first == text.npos) return;
    text.remove_prefix(first);
    behind_ = false;
  }
  out->content += text;
}

ToolCallParser::Pieces ToolCallParser::push(std::string_view text) {
  Pieces out;
  held_ += text;
  if (format_->begin.empty()) {
    const size_t first = held_.find_first_not_of(kSpace);
    if (first == held_.npos) return out;
    plain_ = plain_ || (held_[first] != '{' && held_[first] != '[');
    if (plain_) out.content = std::exchange(held_, {});
    return out;
  }
  for (;;) {
    const std::string_view wanted = inside_ ? format_->end : format_->begin;
    const size_t at = wanted.empty() ? held_.npos : held_.find(wanted);
    if (at == held_.npos) break;
    if (inside_) {
      for (ToolCall& call : read_calls(std::string_view(held_).substr(0, at))) out.calls.push_back(std::move(call));
      behind_ = true;
    } else {
      say(std::string_view(held_).substr(0, at), &out);
    }
    held_.erase(0, at + wanted.size());
    inside_ = !inside_;
  }
  if (inside_) return out;
  const size_t keep = may_become(held_, format_->begin);
  say(std::string_view(held_).substr(0, held_.size() - keep), &out);
  held_.erase(0, held_.size() - keep);
  return out;
}

ToolCallParser::Pieces ToolCallParser::finish() {
  Pieces out;
  const std::string rest = std::exchange(held_, {});
  if (inside_ || (format_->begin.empty() && !plain_)) out.calls = read_calls(rest);
  if (out.calls.empty()) say((inside_ ? std::string(format_->begin) : "") + rest, &out);
  inside_ = false;
  return out;
}

}  // namespace vibee
