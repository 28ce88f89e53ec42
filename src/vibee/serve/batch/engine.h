// SPDX-License-Identifier: Apache-2.0
// The one loop: every token of run, chat and batched generation comes from Engine::step. A policy (batch.h) says who
// runs in the next step and with how many rows; the engine sees to it that pages exist for whatever was admitted, that
// what was computed before is reused, and that the answer to a request is the same whatever else happens.
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "vibee/model/session/session.h"
#include "vibee/model/token/detokenizer.h"
#include "vibee/serve/batch/batch.h"
#include "vibee/serve/decode/sampler.h"
#include "vibee/serve/decode/stop.h"
#include "vibee/serve/grammar/grammar.h"
#include "vibee/serve/kvcache/kvcache.h"

namespace vibee {

enum class Finish : uint8_t { none, end_token, stop_string, length, context, cancelled };
std::string_view name(Finish finish);

struct GenerateRequest {
  std::vector<int32_t> prompt;  ///< token ids, not empty
  SamplingParams sampling;
  uint32_t max_tokens = 256;
  std::vector<std::string> stop;
  bool ignore_end = false;  ///< go on after an end token
  uint64_t space = 0;       ///< requests of different spaces never share what was computed
  /// What the text keeps to, compiled for this model's tokenizer; null: anything. The end token is drawn where the text
  /// may end, and alone where it must.
  std::shared_ptr<const Grammar> grammar = nullptr;
};

/// What one step gave to one request.
struct TokenEvent {
  uint32_t request;
  Sampled sampled;
  std::string text;  ///< may be empty: half a character, or held back for a stop string
  Finish finish = Finish::none;
};
using OnToken = std::function<void(const TokenEvent&)>;

struct EngineOptions {
  const SchedulerPolicy* policy = &kChunkedPrefill;
  uint32_t chunk = 0;             ///< rows a step should have; 0: all that it can
  PrefixIndex* prefix = nullptr;  ///< of the session's pages; null: nothing is reused
  StepTime* time = nullptr;       ///< for policies that keep a promise; corrected by every step
};

struct EngineStats {
  uint64_t steps = 0, prompt_rows = 0;
  uint64_t rows = 0;  ///< of all steps
  uint64_t prompt_tokens = 0,
           reused_tokens = 0;     ///< of admitted requests, and those of them that were not computed again
  uint64_t decode_only_rows = 0;  ///< rows of steps without prompt rows
  double prompt_seconds = 0, decode_seconds = 0;  ///< of steps with and without prompt rows
};

class Engine {
 public:
  explicit Engine(Session& session, const EngineOptions& options = {}) : session_(session), options_(options) {}
  ~Engine();
  /// Queues a request; refused when it is empty, does not fit the context, or its parameters are out of range. Returns
  /// its number.
  Result<uint32_t> submit(GenerateRequest request);
  void cancel(uint32_t request);
  bool idle() const { return waiting_.empty() && running_.empty(); }
  /// One step; events in the order of the batch.
  Status step(const OnToken& on_token);
  /// Gives pages of nobody back until `pages` are free: for steps of the session that are not the engine's.
  Status make_room(uint64_t pages);
  /// Steps until idle or `stop()` is true.
  Status run(const OnToken& on_token, const std::function<bool()>& stop = {});
  const EngineStats& stats() const { return stats_; }

 private:
  struct Running {
    uint32_t id;
    GenerateRequest request;
    SequenceState state;
    Sampler sampler;
    StreamDecoder decoder;
    StopStrings stop;
    std::vector<int32_t> tokens;  ///< prompt and generated
    std::optional<GrammarState> grammar = {};
    uint32_t generated = 0;
    bool begun = false;      ///< a step had rows of it
    bool cancelled = false;  ///< leaves before the next step
    std::chrono::steady_clock::time_point last_token = {};
  };
  void admit();
  bool waits_for_leader(const GenerateRequest& request, uint32_t reused) const;
  uint32_t worst_pages(const GenerateRequest& request) const;
  uint64_t outstanding(const SequenceState& state, const GenerateRequest& request) const;
  void show();
  void pack();
  void publish(const Running& r, uint32_t tokens);
  void leave();
  void accept(Running& r, std::span<float> logits, const OnToken& on_token);

  Session& session_;
  EngineOptions options_;
  uint32_t next_id_ = 0;
  std::deque<std::pair<uint32_t, GenerateRequest>> waiting_;
  std::vector<std::unique_ptr<Running>> running_;
  std::vector<SeqView> views_;       ///< of running_
  std::vector<uint32_t> row_count_;  ///< the policy's answer, of running_
  std::vector<StepRows> rows_;       ///< of the coming step
  std::vector<Running*> row_owner_;
  EngineStats stats_;
};

}  // namespace vibee
