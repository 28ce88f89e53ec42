// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/token/chat_template.h"

#include <nlohmann/json.hpp>

#include "vibee/model/token/template_parser.h"
#include "vibee/model/token/template_run.h"
#include "vibee/model/token/tokenizer.h"

namespace vibee {
namespace {

/// The context as values of the template language; its nesting is bounded here, before anything walks it.
template <class Json>
Result<TemplateValue> value_of(const Json& json, uint32_t depth) {
  if (depth > kMaxValueDepth / 2)
    return error(Code::invalid, "the context of a chat template is nested more than {} deep", kMaxValueDepth / 2);
  switch (json.type()) {
    case Json::value_t::boolean: return TemplateValue::of(json.template get<bool>());
    case Json::value_t::number_integer: return TemplateValue::of(json.template get<int64_t>());
    case Json::value_t::number_unsigned: {
      const uint64_t u = json.template get<uint64_t>();
      if (u > uint64_t(INT64_MAX))
        return error(Code::invalid, "{} in the context of a chat template does not fit into 64 bits", u);
      return TemplateValue::of(int64_t(u));
    }
    case Json::value_t::number_float: return TemplateValue::of(json.template get<double>());
    case Json::value_t::string: return TemplateValue::of(json.template get_ref<const std::string&>());
    case Json::value_t::array: {
      TemplateList items;
      for (const auto& one : json) {
        VIBEE_ASSIGN(TemplateValue item, value_of(one, depth + 1));
        items.push_back(std::move(item));
      }
      return TemplateValue::list(std::move(items));
    }
    case Json::value_t::object: {
      std::vector<std::pair<TemplateValue, TemplateValue>> pairs;
      for (auto it = json.begin(); it != json.end(); ++it) {
        VIBEE_ASSIGN(TemplateValue item, value_of(it.value(), depth + 1));
        pairs.emplace_back(TemplateValue::of(std::string(it.key())), std::move(item));
      }
      return TemplateValue::dict(std::move(pairs));
    }
    default: return TemplateValue::none();
  }
}

template <class Json>
Result<std::string> render_json(const TemplateNode& root, const Json& context, std::optional<std::time_t> now) {
  if (!context.is_object()) return error(Code::invalid, "the context of a chat template must be an object");
  VIBEE_ASSIGN(TemplateValue value, value_of(context, 0));
  return TemplateInterpreter(std::move(value), TemplateLimits(), now).run(root);
}

}  // namespace

ChatTemplate::ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

Result<ChatTemplate> ChatTemplate::parse(std::string_view source) {
  ChatTemplate made;
  VIBEE_ASSIGN(made.root_, parse_template(source));
  made.source_ = source;
  return made;
}

Result<std::string> ChatTemplate::render(const nlohmann::json& context, std::optional<std::time_t> now) const {
  return render_json(*root_, context, now);
}

Result<std::string> ChatTemplate::render(const OrderedJson& context, std::optional<std::time_t> now) const {
  return render_json(*root_, context, now);
}

Result<std::string> apply_chat_template(const ChatTemplate& chat_template, std::span<const ChatMessage> messages,
                                        bool add_generation_prompt, const Tokenizer& tokenizer) {
  OrderedJson context;
  auto& list = context["messages"] = OrderedJson::array();
  for (const ChatMessage& message : messages) list.push_back({{"role", message.role}, {"content", message.content}});
  context["add_generation_prompt"] = add_generation_prompt;
  context["bos_token"] = std::string(tokenizer.piece(tokenizer.bos()));
  context["eos_token"] = std::string(tokenizer.piece(tokenizer.eos()));
  return chat_template.render(context);
}

Result<std::vector<int32_t>> encode_rendered(const Tokenizer& tokenizer, const std::string& text) {
  std::vector<int32_t> ids;
  VIBEE_TRY(tokenizer.encode(text, true, &ids));
  const int32_t bos = tokenizer.bos();
  if (tokenizer.add_bos() && bos >= 0 && (ids.empty() || ids[0] != bos)) ids.insert(ids.begin(), bos);
  return ids;
}

}  // namespace vibee
