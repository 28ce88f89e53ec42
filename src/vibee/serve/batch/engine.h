// SPDX-License-Identifier: Apache-2.0
// The one loop: every token of run, chat and batched generation comes from Engine::step. A step carries one row of
// every sequence that is generating and as many prompt rows as fit beside them; the scheduler policies of the serving
// branch replace `pack`.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "vibee/model/session/session.h"
#include "vibee/model/token/detokenizer.h"
#include "vibee/serve/decode/sampler.h"
#include "vibee/serve/decode/stop.h"

namespace vibee {

enum class Finish : uint8_t { none, end_token, stop_string, length, context, cancelled };
std::string_view name(Finish finish);

struct GenerateRequest {
  std::vector<int32_t> prompt;  ///< token ids, not empty
  SamplingParams sampling;
  uint32_t max_tokens = 256;
  std::vector<std::string> stop;
  bool ignore_end = false;  ///< go on after an end token
};

/// What one step gave to one request.
struct TokenEvent {
  uint32_t request;
  Sampled sampled;
  std::string text;  ///< may be empty: half a character, or held back for a stop string
  Finish finish = Finish::none;
};
using OnToken = std::function<void(const TokenEvent&)>;

struct EngineStats {
  uint64_t steps = 0, prompt_rows = 0;
  uint64_t decode_only_rows = 0;                  ///< rows of steps without prompt rows
  double prompt_seconds = 0, decode_seconds = 0;  ///< of steps with and without prompt rows
};

class Engine {
 public:
  explicit Engine(Session& session) : session_(session) {}
  /// Queues a request; refused when it is empty, does not fit the context, or its parameters are out of range. Returns
  /// its number.
  Result<uint32_t> submit(GenerateRequest request);
  void cancel(uint32_t request);
  bool idle() const { return waiting_.empty() && running_.empty(); }
  /// One step; events in the order of the batch.
  Status step(const OnToken& on_token);
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
    uint32_t generated = 0;
    bool cancelled = false;
  };
  void pack();
  void accept(Running& r, std::span<float> logits, const OnToken& on_token);

  Session& session_;
  uint32_t next_id_ = 0;
  std::deque<std::pair<uint32_t, GenerateRequest>> waiting_;
  std::vector<std::unique_ptr<Running>> running_;
  std::vector<StepRows> rows_;  ///< of the coming step
  std::vector<Running*> row_owner_;
  EngineStats stats_;
};

}  // namespace vibee
