// SPDX-License-Identifier: Apache-2.0
// A model as the interface knows it: its name, its worker, its template parsed once.
#pragma once

#include <ctime>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "vibee/app/server/engine_worker.h"
#include "vibee/app/server/fields.h"
#include "vibee/app/server/tool_calls.h"
#include "vibee/model/token/chat_template.h"
#include "vibee/serve/grammar/grammar.h"

namespace vibee {

/// An adapter that requests may name, as "NAME" or "MODEL:NAME".
struct ServedAdapter {
  std::shared_ptr<const LoraAdapter> adapter;
  std::time_t loaded_at = 0;
};

struct ServedModel {
  std::string id;
  std::unique_ptr<EngineWorker> worker;
  std::optional<ChatTemplate> chat_template;
  std::unique_ptr<GrammarCompiler> grammars;  ///< of a model that generates
  /// How its template writes calls; null: it knows none.
  const ToolFormat* tools = nullptr;
  std::vector<int32_t> spoken;                     ///< control tokens that calls are written with
  std::unique_ptr<GrammarCompiler> call_grammars;  ///< in which those are text
  std::time_t loaded_at = 0;
  uint32_t uses = 0;        ///< answers and other work under way: it stays while there are any
  uint32_t looks = 0;       ///< of them: by those who watch it
  uint32_t under_way = 0;   ///< prompts that are not finished
  double rate = 0;          ///< of them finished a second, lately
  std::string fingerprint;  ///< equal fingerprint, seed and request: equal bytes
  uint64_t progress = 0;    ///< of its worker, when the watchdog last looked
  double stands_s = 0;      ///< for so long the watchdog has seen no other
  bool hangs = false;       ///< and that is too long: nothing more comes from its worker

  std::map<std::string, ServedAdapter, std::less<>> adapters = {};

  const Model& model() const { return *worker->loaded().model; }
  const Tokenizer& tokenizer() const { return model().tokenizer(); }
  Output output() const { return model().config().output; }

  /// `chat_template` stands in place of the model's own; empty: its own.
  static Result<std::unique_ptr<ServedModel>> load(const LoadConfig& config, std::string id,
                                                   const std::string& chat_template, EngineWorker::Post post);
};

/// What a conversation's prompt ends with: the begin of an answer, the end of its last message, or that message without
/// its end, for the model to go on with.
enum class PromptEnd { answer, message, open_message };
/// From `add_generation_prompt` and `continue_final_message`, as transformers' apply_chat_template has them.
PromptEnd read_prompt_end(FieldReader& fields);
/// The prompt of a conversation, its special tokens spelled out. `messages` are read_messages's; `tools` and `extra`
/// are as the client sent them.
Result<std::string> render_chat(const ServedModel& model, const Json& messages, const Json* tools, const Json* extra,
                                PromptEnd end);
/// The conversation as templates read it: roles known, text parts joined. Or what is wrong with it.
std::variant<Json, ApiError> read_messages(const Json& messages);

}  // namespace vibee
