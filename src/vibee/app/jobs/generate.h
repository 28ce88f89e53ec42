// SPDX-License-Identifier: Apache-2.0
// The job behind run and chat: prompts in, streamed text out, and what it cost beside what was stated.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "vibee/app/jobs/load.h"
#include "vibee/core/measure/measure.h"
#include "vibee/model/token/chat_template.h"
#include "vibee/serve/batch/engine.h"

namespace vibee {

struct GenerateConfig {
  SamplingParams sampling;  ///< request i of several uses seed + i
  uint32_t max_tokens = 256;
  std::vector<std::string> stop;
  bool ignore_end = false;
  EngineOptions engine;  ///< Loaded::engine
};

/// What is drawn with when the user says nothing: as the model's files say, where they say how; else temperature 0.7,
/// top_p 0.95 and min_p 0.05.
SamplingParams default_sampling(const SamplingDefaults& files);

struct GenerateStats {
  uint64_t prompt_tokens = 0, generated = 0;
  uint64_t reused = 0;             ///< prompt tokens that were computed earlier
  double first_token_seconds = 0;  ///< from the first step to the first token of any request
  double prompt_seconds = 0, decode_seconds = 0;
  uint64_t decode_rows = 0;  ///< tokens made by steps without prompt rows
  double prompt_rate() const { return prompt_seconds > 0 ? double(prompt_tokens - reused) / prompt_seconds : 0; }
  double decode_rate() const { return decode_seconds > 0 ? double(decode_rows) / decode_seconds : 0; }
};

struct GenerateResult {
  std::vector<std::string> texts;
  std::vector<Finish> finishes;
  std::vector<std::vector<Sampled>> tokens;  ///< one entry a token, when logprobs were asked for
  GenerateStats stats;
};

/// Token ids of a raw text: BOS where the model adds one; control tokens spelled in it count as such.
Result<std::vector<int32_t>> encode_prompt(const Model& model, const std::string& text);
/// Token ids of a conversation through the model's own template.
Result<std::vector<int32_t>> encode_chat(const Model& model, std::span<const ChatMessage> messages);
bool has_chat_template(const Model& model);

/// Prompts that are continued together, a step at a time. The session must outlive it.
class Generation {
 public:
  /// Checks and queues all prompts; nothing is computed yet.
  static Result<Generation> start(Session& session, const std::vector<std::vector<int32_t>>& prompts,
                                  const GenerateConfig& config);
  bool done() const { return engine_->idle(); }
  /// One step; `on_token` gets what it gave, TokenEvent::request being the number of the prompt.
  Status step(const OnToken& on_token);
  GenerateStats stats() const;

 private:
  Generation() = default;
  std::unique_ptr<Engine> engine_;
  uint64_t prompt_tokens_ = 0, generated_ = 0;
  std::optional<Timer> timer_;  ///< of the first step
  double first_token_seconds_ = 0;
};

/// A Generation from start to end; `on_text(request, text)` gets the pieces as they come. `cancelled` is asked at
/// every step.
Result<GenerateResult> generate(Session& session, const std::vector<std::vector<int32_t>>& prompts,
                                const GenerateConfig& config,
                                const std::function<void(uint32_t, const std::string&)>& on_text,
                                const std::function<bool()>& cancelled);

}  // namespace vibee
