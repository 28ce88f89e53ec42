// SPDX-License-Identifier: Apache-2.0
// Chat templates as models ship them (tokenizer.chat_template): the part of Jinja 3.1 that transformers gives to
// templates, run as transformers runs it, but bounded, and without reach beyond the data it is given.
#pragma once

#include <ctime>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "vibee/base/status/status.h"
#include "vibee/base/text/ordered_json.h"

namespace vibee {

class Tokenizer;
struct TemplateNode;

struct ChatMessage {
  std::string role, content;
};

class ChatTemplate {
 public:
  /// Errors carry line:column.
  static Result<ChatTemplate> parse(std::string_view source);
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;
  ~ChatTemplate();

  /// `context` is an object: messages, add_generation_prompt, bos_token, tools, ... What the template refuses with
  /// raise_exception is Code::invalid. `now`: what strftime_now takes for the time, so that the same request can give
  /// the same bytes. The order of keys matters to templates that print them: pass an OrderedJson where it must be the
  /// caller's.
  Result<std::string> render(const nlohmann::json& context, std::optional<std::time_t> now = {}) const;
  Result<std::string> render(const OrderedJson& context, std::optional<std::time_t> now = {}) const;
  const std::string& source() const { return source_; }

 private:
  ChatTemplate();
  std::string source_;
  std::unique_ptr<TemplateNode> root_;
};

/// The prompt of a conversation, special tokens spelled out: encode it with parse_special. bos_token and eos_token are
/// the tokenizer's.
Result<std::string> apply_chat_template(const ChatTemplate& chat_template, std::span<const ChatMessage> messages,
                                        bool add_generation_prompt, const Tokenizer& tokenizer);
/// Token ids of what a template wrote: BOS where the model asks for one and the template did not write it.
Result<std::vector<int32_t>> encode_rendered(const Tokenizer& tokenizer, const std::string& text);

}  // namespace vibee
