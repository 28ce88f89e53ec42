// SPDX-License-Identifier: Apache-2.0
// A server on a simulated clock. What decides is what ships: the engine with its policy, order, admission, page store
// and prefix index; what is simulated is how long things take (serve_cost.h). One thread of HTTP hands requests in and
// tokens out one after the other, as app/server does; the engine takes requests between two steps. Deterministic: the
// same calls, the same seed, the same times.
#pragma once

#include <deque>
#include <functional>
#include <queue>
#include <unordered_map>

#include "vibee/plan/simulate/timed_executor.h"
#include "vibee/serve/batch/engine.h"

namespace vibee {

struct ServeSimConfig {
  SessionOptions session;  ///< with `pages`
  EngineOptions engine;    ///< policy, order, chunk, aging, preemption, log; the rest is filled in
  std::string prefix = "radix";
  double promise_s = 0;  ///< of the policy sarathi
  uint32_t queue = 512;  ///< requests that may wait
  ServeCost cost;
  uint64_t seed = 1;
  TimedExecutor::TokenOf token_of;
};

class ServeSim {
 public:
  struct Events {
    /// A token has come; `now()` is when.
    std::function<void(const TokenEvent&)> token;
    /// The request will not be answered.
    std::function<void(const Status&)> refused;
  };
  static Result<std::unique_ptr<ServeSim>> create(ServeSimConfig config);

  /// Seconds since the start, for a client.
  double now() const { return now_; }
  /// Calls back then, or at once when it is past.
  void at(double s, std::function<void()> call);
  /// Sends a request now. Returns its number.
  uint64_t send(GenerateRequest request, Events events);
  /// Nothing more is heard of it.
  void cancel(uint64_t request);
  /// Until nothing is left to happen, or stop(), which drops what was to happen. Pages, caches and the clock stay as
  /// they are for another run. An error of the engine is one of the simulation.
  Status run();
  void stop() { stopped_ = true; }

  const Engine& engine() const { return *engine_; }
  const PrefixIndex* prefix() const { return prefix_.get(); }
  const PageStore& pages() const { return executor_->pages(); }

 private:
  struct Timer {
    double at_s;
    uint64_t order;  ///< of equal times the earlier call goes first
    std::function<void()> call;
    bool operator<(const Timer& other) const { return at_s != other.at_s ? at_s > other.at_s : order > other.order; }
  };
  struct Sent {
    Events events;
    uint32_t engine_id = 0;
    bool taken = false;
  };
  struct Delivery {
    double at_s;
    uint64_t request;
    TokenEvent event;
  };
  struct Message {
    uint64_t number;
    std::optional<GenerateRequest> request;  ///< none: it is cancelled
  };
  explicit ServeSim(ServeSimConfig config) : config_(std::move(config)) {}
  double next() const;
  void happen();
  void take();
  Status step();
  void refuse(uint64_t number, const Status& status);

  ServeSimConfig config_;
  std::unique_ptr<TimedExecutor> executor_;
  std::unique_ptr<PrefixIndex> prefix_;
  std::optional<StepTime> time_;
  std::optional<Engine> engine_;
  std::priority_queue<Timer> timers_;
  std::deque<Delivery> deliveries_;  ///< in order of time
  std::vector<Message> inbox_;
  std::unordered_map<uint64_t, Sent> sent_;
  std::unordered_map<uint32_t, uint64_t> number_of_;  ///< by the engine's id
  double now_ = 0, http_free_s_ = 0;
  uint64_t next_order_ = 0, next_number_ = 0;
  bool stopped_ = false;
};

}  // namespace vibee
