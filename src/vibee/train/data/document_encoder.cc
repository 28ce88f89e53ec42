// SPDX-License-Identifier: Apache-2.0
#include "vibee/train/data/document_encoder.h"

namespace vibee {

Result<DocumentEncoder> DocumentEncoder::make(const Tokenizer& tokenizer, bool special) {
  DocumentEncoder out(tokenizer, special);
  if (!tokenizer.chat_template().empty()) {
    auto parsed = ChatTemplate::parse(tokenizer.chat_template());
    if (!parsed.ok()) return parsed.take_status().within("chat template");
    out.template_ = std::move(*parsed);
  }
  return out;
}

Status DocumentEncoder::encode(const TextDocument& document, TokenDocument* out) const {
  *out = {};
  out->ends = document.ends;
  Status status = document.messages.empty() ? encode_text(document, out) : encode_chat(document.messages, out);
  return std::move(status).within(document.where);
}

Status DocumentEncoder::encode_text(const TextDocument& document, TokenDocument* out) const {
  const Tokenizer& t = *tokenizer_;
  if (document.begins && t.add_bos() && t.bos() >= 0) out->ids.push_back(t.bos());
  VIBEE_TRY(t.encode(document.text, special_, &out->ids));
  if (document.ends && t.eos() >= 0) out->ids.push_back(t.eos());
  return {};
}

/// The conversation is cut where its answers begin and end, and the parts are encoded one by one: a model that is asked
/// sees the ids of the part before its answer, not those of a text that goes on.
Status DocumentEncoder::encode_chat(const std::vector<ChatMessage>& messages, TokenDocument* out) const {
  if (!template_) return error(Code::invalid, "is a conversation, and the tokenizer has no chat template");
  std::string done;  // what is encoded
  const auto go_on = [&](const std::string& text, bool answer) -> Status {
    if (!text.starts_with(done))
      return error(Code::unsupported,
                   "the chat template writes earlier messages differently when another follows; answers cannot be told "
                   "from the rest");
    const std::string part = text.substr(done.size());
    const size_t before = out->ids.size();
    if (before == 0) {
      VIBEE_ASSIGN(out->ids, encode_rendered(*tokenizer_, part));
    } else {
      VIBEE_TRY(tokenizer_->encode(part, true, &out->ids));
    }
    bool learnt = answer;
    for (size_t i = before; i < out->ids.size(); ++i) {
      out->learnt.push_back(learnt);
      if (tokenizer_->is_end(out->ids[i])) learnt = false;
    }
    done = text;
    return {};
  };
  const std::span<const ChatMessage> all(messages);
  bool any = false;
  for (size_t i = 0; i < all.size(); ++i) {
    if (all[i].role != "assistant") continue;
    any = true;
    VIBEE_ASSIGN(const std::string prompt, apply_chat_template(*template_, all.first(i), true, *tokenizer_));
    VIBEE_TRY(go_on(prompt, false));
    VIBEE_ASSIGN(const std::string answered, apply_chat_template(*template_, all.first(i + 1), false, *tokenizer_));
    VIBEE_TRY(go_on(answered, true));
  }
  if (!any) return error(Code::invalid, "no message has the role assistant: there is no answer to learn");
  VIBEE_ASSIGN(const std::string whole, apply_chat_template(*template_, all, false, *tokenizer_));
  return go_on(whole, false);
}

}  // namespace vibee
