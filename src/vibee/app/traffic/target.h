// SPDX-License-Identifier: Apache-2.0
// The server that is measured, and how it is asked: anything that speaks OpenAI's chat or completions.
#pragma once

#include <string>
#include <vector>

#include "vibee/app/http/http_client.h"
#include "vibee/app/traffic/workload.h"
#include "vibee/model/token/chat_template.h"
#include "vibee/model/token/tokenizer.h"

namespace vibee {

struct Target {
  Url url;  ///< "/v1" at its end is taken off
  HttpClientOptions http;
  bool chat = true;                      ///< /v1/chat/completions; else /v1/completions
  std::string model;                     ///< as the server calls it
  std::vector<std::string> keys;         ///< bearer tokens; conversation i uses one after the other
  const Tokenizer* tokenizer = nullptr;  ///< of the model, where it is at hand: for ids, and to count tokens
  bool send_ids = false;                 ///< completions: prompts are sent as the tokenizer's ids
  bool ignore_end = true;                ///< ask for exactly so many tokens ("ignore_eos", which not all servers know)
  double temperature = 0;
  std::string fields;  ///< more members of the request, as JSON without its braces
};

/// The text between the braces of a JSON object, for Target::fields; of an empty text, none.
Result<std::string> json_members(std::string_view object);

/// Waits at most `wait_s` until /health answers 200 (or 404: a server without it), then asks /v1/models for the model's
/// name where `target` has none.
Status prepare_target(Target* target, double wait_s);

/// What is said until a conversation's turn, its answers in between.
std::vector<ChatMessage> messages_of(const Conversation& conversation, size_t turn,
                                     const std::vector<std::string>& answers);
/// The same as one text, for completions.
std::string text_of(const std::vector<ChatMessage>& messages);

/// The request of a conversation's turn: `answers` are those to the turns before it that asked for one.
Result<HttpCall> make_call(const Target& target, const Conversation& conversation, size_t turn,
                           const std::vector<std::string>& answers, uint64_t number);

}  // namespace vibee
