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
  EngineOptions engine;                                  ///< Loaded::engine
  std::shared_ptr<const Grammar> grammar = nullptr;      ///< GenerateRequest::grammar
  std::shared_ptr<const LoraAdapter> adapter = nullptr;  ///< GenerateRequest::adapter
};

/// What is drawn with when the user says nothing: as the model's files say, where they say how; else temperature 0.7,
/// top_p 0.95 and min_p 0.05.
SamplingParams default_sampling(const SamplingDefaults& files);

struct GenerateStats {
  uint64_t prompt_tokens = 0, generated = 0;
  uint64_t reused = 0;             ///< prompt tokens that were computed earlier
  double first_token_seconds = 0;  ///< until the first token of any request
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
Result<std::vector<int32_t>> encode_prompt(const Tokenizer& tokenizer, const std::string& text);
Result<std::vector<int32_t>> encode_prompt(const Model& model, const std::string& text);
/// Token ids of a conversation through the model's own template.
Result<std::vector<int32_t>> encode_chat(const Model& model, std::span<const ChatMessage> messages);
bool has_chat_template(const Model& model);

/// Prompts that belong together among those of an engine, which must outlive it.
class Generation {
 public:
  /// Queues all prompts; on an error none.
  static Result<std::unique_ptr<Generation>> start(Engine& engine, const std::vector<std::vector<int32_t>>& prompts,
                                                   const GenerateConfig& config);
  Generation(const Generation&) = delete;
  Generation& operator=(const Generation&) = delete;
  /// Cancels what is not finished.
  ~Generation();

  /// Counts an event of the engine. The number of the prompt, or nothing when it is somebody else's.
  std::optional<uint32_t> take(const TokenEvent& event);
  bool done() const { return unfinished_ == 0; }
  /// Rates are those of the engine's steps while this ran.
  GenerateStats stats() const;

 private:
  explicit Generation(Engine& engine) : engine_(engine), before_(engine.stats()) {}

  Engine& engine_;
  uint32_t first_ = 0, count_ = 0, unfinished_ = 0;
  uint64_t prompt_tokens_ = 0, generated_ = 0;
  Timer timer_;
  double first_token_seconds_ = 0;
  EngineStats before_;
  std::optional<EngineStats> after_;  ///< once it is done
};

/// A Generation on an engine of its own, from start to end; `on_text(request, text)` gets the pieces as they come.
/// `cancelled` is asked at every step.
Result<GenerateResult> generate(Session& session, const std::vector<std::vector<int32_t>>& prompts,
                                const GenerateConfig& config,
                                const std::function<void(uint32_t, const std::string&)>& on_text,
                                const std::function<bool()>& cancelled);

}  // namespace vibee
