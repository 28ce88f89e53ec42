// SPDX-License-Identifier: Apache-2.0
// What a request of /v1/chat/completions or /v1/completions asks for, read and checked as a whole before anything runs.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "vibee/app/server/served_model.h"
#include "vibee/app/server/tool_calls.h"
#include "vibee/serve/batch/engine.h"

namespace vibee {

struct CompletionRequest {
  bool chat = false, stream = false, include_usage = false, echo = false, token_ids = false, timings = false;
  const ToolFormat* tools = nullptr;  ///< how calls are written, where the model may call
  bool parallel_calls = true;
  std::string model, fingerprint;  ///< as the answer names them: those of the adapter, where it has one
  bool seeded = false;             ///< the client gave the seed
  int logprobs = -1;               ///< alternatives a token; -1: none are asked for
  uint32_t n = 1;                  ///< answers a prompt
  uint32_t best_of = 1;            ///< generated a prompt
  uint64_t timeout_ms = 0;
  int priority = 0;
  std::string salt;
  std::vector<std::string> prompts;    ///< their texts, where echo wants them
  std::vector<GenerateRequest> parts;  ///< best_of of the first prompt, then of the next
  Json metadata;
};

/// Whether reading the body may compile grammars, which takes up to a quarter of a second.
bool asks_for_grammar(const Json& body);
std::variant<CompletionRequest, ApiError> read_chat_request(const Json& body, const ServedModel& model);
std::variant<CompletionRequest, ApiError> read_completion_request(const Json& body, const ServedModel& model);

/// Texts, or lists of ids, of a field that takes a string, strings, ids or lists of ids; ids are checked.
struct TextOrTokens {
  std::string text;
  std::vector<int32_t> tokens;
  bool is_text = true;
};
std::vector<TextOrTokens> read_inputs(FieldReader& fields, std::string_view name, const Tokenizer& tokenizer,
                                      size_t most);

}  // namespace vibee
