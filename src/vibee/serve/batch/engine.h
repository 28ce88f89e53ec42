// SPDX-License-Identifier: Apache-2.0
// The one loop: every token of run, chat and batched generation comes from Engine::step. A policy (batch.h) says who
// runs in the next step and with how many rows; the engine sees to it that pages exist for whatever was admitted, that
// what was computed before is reused, and that the answer to a request is the same whatever else happens.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "vibee/model/session/session.h"
#include "vibee/model/token/detokenizer.h"
#include "vibee/serve/batch/batch.h"
#include "vibee/serve/batch/order.h"
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
  int priority = 0;         ///< its class: a larger one goes before, and may take a place from a smaller one
  uint64_t key = 0;         ///< whose it is, for orders that are fair between keys
  /// What the text keeps to, compiled for this model's tokenizer; null: anything. The end token is drawn where the text
  /// may end, and alone where it must.
  std::shared_ptr<const Grammar> grammar = nullptr;
  std::vector<int32_t> spoken = {};  ///< control tokens that count as text in the answer
  /// How many alternatives to report for each token of the prompt, the first one excepted; nothing of such a prompt is
  /// reused. With it max_tokens may be 0.
  std::optional<uint32_t> prompt_logprobs = {};
  /// Tokens of its text that an engine before this one gave already: it goes on behind them. Counted in max_tokens.
  std::vector<int32_t> generated = {};
  /// Of the model's pool; kept until the request is done, and part of its space. Null: the model as it is.
  std::shared_ptr<const LoraAdapter> adapter = nullptr;
};

/// Where the time of a request went so far; seconds.
struct RequestTimes {
  double queue = 0;     ///< until its first step
  double prompt = 0;    ///< from then to its first token
  double decode = 0;    ///< from then on
  double grammar = 0;   ///< of these: finding out what the grammar allows
  double sampling = 0;  ///< of these: choosing its tokens and writing them as text
  uint32_t reused = 0;  ///< tokens of its prompt that were computed earlier
};

/// What one step gave to one request.
struct TokenEvent {
  uint32_t request;
  Sampled sampled;   ///< token -1: nothing was generated (max_tokens is 0)
  std::string text;  ///< may be empty: half a character, or held back for a stop string
  Finish finish = Finish::none;
  RequestTimes times = {};
  std::vector<Sampled> prompt = {};  ///< with the first event, where prompt_logprobs asked for it
};
using OnToken = std::function<void(const TokenEvent&)>;

struct EngineOptions {
  const SchedulerPolicy* policy = &kChunkedPrefill;
  uint32_t chunk = 0;             ///< rows a step should have; 0: all that it can
  PrefixIndex* prefix = nullptr;  ///< of the session's pages; null: nothing is reused
  StepTime* time = nullptr;       ///< for policies that keep a promise; corrected by every step
  const RequestOrder* order = &kFirstCome;
  double aging_s = 10;  ///< who waits so long gains a class
  bool preempt = true;  ///< whether a request may be put back for one of a larger class
};

struct EngineStats {
  uint64_t generated = 0;  ///< tokens
  uint64_t steps = 0, prompt_rows = 0;
  uint64_t rows = 0;  ///< of all steps
  uint64_t prompt_tokens = 0,
           reused_tokens = 0;     ///< of admitted requests, and those of them that were not computed again
  uint64_t preempted = 0;         ///< times that a request was put back
  uint64_t decode_only_rows = 0;  ///< rows of steps without prompt rows
  double prompt_seconds = 0, decode_seconds = 0;  ///< of steps with and without prompt rows
};

/// A request that is here, as those who watch see it.
struct SequenceInfo {
  uint32_t id = 0, prompt = 0, reused = 0, computed = 0, generated = 0, max_tokens = 0;
  std::string_view state;  ///< waiting, prompt, generating, paused or done
};

class Engine {
 public:
  explicit Engine(Session& session, const EngineOptions& options = {}) : session_(session), options_(options) {}
  ~Engine();
  /// Queues a request; refused when it is empty, does not fit the context, or its parameters are out of range. Returns
  /// its number.
  Result<uint32_t> submit(GenerateRequest request);
  void cancel(uint32_t request);
  /// Forgets every request and publishes nothing: after an exception left a step half-way.
  void abandon();
  /// A request that is paused keeps what it has and gets no rows: its client does not keep up.
  void pause(uint32_t request, bool paused);
  /// Puts a request that runs back among those that wait; its answer goes on later, with the same bytes. False when it
  /// does not run.
  bool preempt(uint32_t request);
  size_t waiting() const { return waiting_.size(); }
  size_t running() const { return running_.size(); }
  bool idle() const { return waiting_.empty() && running_.empty(); }
  /// Whether the last step found nothing to do, because all who run are paused.
  bool stalled() const { return stalled_; }
  /// One step; events in the order of the batch.
  Status step(const OnToken& on_token);
  /// Gives pages of nobody back until `pages` are free: for steps of the session that are not the engine's.
  Status make_room(uint64_t pages);
  /// Steps until idle or `stop()` is true.
  Status run(const OnToken& on_token, const std::function<bool()>& stop = {});
  const EngineStats& stats() const { return stats_; }
  std::vector<SequenceInfo> sequences() const;
  const EngineOptions& options() const { return options_; }
  /// Others from the next step on; `prefix` stays as it is.
  void set_options(EngineOptions options);

 private:
  /// A request from its arrival to its end.
  struct Sequence {
    uint32_t id;
    GenerateRequest request;
    SequenceState state;  ///< empty while it waits
    Sampler sampler;
    StreamDecoder decoder;
    StopStrings stop;
    std::vector<int32_t> tokens;  ///< prompt and generated
    std::optional<GrammarState> grammar = {};
    uint64_t space = 0;  ///< that of the request and of its adapter
    uint32_t generated = 0;
    uint32_t preempted = 0;  ///< times
    bool begun = false;      ///< a step had rows of it since it was admitted
    bool finished = false;   ///< has its last token
    bool cancelled = false;  ///< leaves before the next step
    bool paused = false;
    std::chrono::steady_clock::time_point submitted = {}, started = {}, first_token = {}, last_token = {};
    RequestTimes times = {};
    std::vector<Sampled> prompt_scores = {};

    uint32_t missing() const { return uint32_t(tokens.size()) - state.length(); }
    /// Whether more than its next token is to be computed, or that is its first.
    bool in_prompt() const { return !finished && (generated == 0 || missing() > 1); }
    bool done() const { return finished || cancelled; }
  };
  /// What the keys of those who are here got.
  struct Service {
    double tokens = 0;
    uint32_t requests = 0;
  };
  static constexpr uint32_t kMostPreemptions = 4;

  void admit();
  bool admit(size_t waiting);
  bool may_admit();
  bool take_place_for(const Sequence& waiting);
  void put_back(size_t running);
  bool waits_for_leader(const Sequence& waiting, uint32_t reused) const;
  uint32_t worst_pages(const GenerateRequest& request) const;
  uint64_t outstanding(const SequenceState& state, const GenerateRequest& request) const;
  Limits limits() const;
  void show();
  void pack();
  void publish(const Sequence& r, uint32_t tokens);
  Status take_pages(uint64_t pages);
  void leave();
  void forget_key(uint64_t key);
  void score_prompt(Sequence& r, std::span<const float> logits, uint32_t first);
  void accept(Sequence& r, std::span<float> logits, const OnToken& on_token);

  Session& session_;
  EngineOptions options_;
  uint32_t next_id_ = 0;
  std::vector<std::unique_ptr<Sequence>> waiting_, running_;  ///< in order of arrival, of admission
  std::map<uint64_t, Service> service_;                       ///< by key
  std::vector<Sequence*> active_;                             ///< those of running_ that are not paused
  std::vector<SeqView> views_;                                ///< of active_
  std::vector<uint32_t> row_count_;                           ///< the policy's answer, of active_
  std::vector<StepRows> rows_;                                ///< of the coming step
  std::vector<Sequence*> row_owner_;
  bool stalled_ = false;
  EngineStats stats_;
};

}  // namespace vibee
