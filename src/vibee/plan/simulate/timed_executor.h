// SPDX-License-Identifier: Apache-2.0
// An executor that computes nothing: it says how long a step takes, moves its clock by that, and draws the tokens that
// it is told. Pages are those of the real store, without bytes.
#pragma once

#include <functional>

#include "vibee/base/random/philox.h"
#include "vibee/plan/simulate/serve_cost.h"
#include "vibee/plan/simulate/shared_load.h"
#include "vibee/serve/batch/executor.h"

namespace vibee {

class TimedExecutor final : public Executor {
 public:
  /// The token at a position of the answer to the request with this seed of its sampling.
  using TokenOf = std::function<int32_t(uint64_t seed, size_t position)>;
  /// `options.pages` pages, which must be given.
  static Result<std::unique_ptr<TimedExecutor>> create(const SessionOptions& options, const ServeCost& cost,
                                                       uint64_t seed, TokenOf token_of);

  const SessionOptions& options() const override { return options_; }
  PageStore& pages() override { return pages_; }
  double now() override { return now_; }
  Result<std::unique_ptr<AnswerWriter>> open(const GenerateRequest& request) override;
  Result<StepResult> step(std::span<const StepRows> rows) override;

  /// Nothing happens until then.
  void wait_until(double s) { now_ = std::max(now_, s); }
  /// Others take so much of the cores while the next step runs.
  void delay_next_step(double s) { delay_ += s; }
  void forget_delay() { delay_ = 0; }
  /// The engine's own work behind the last step, which drew so many tokens.
  void finish_step(size_t drawn) { now_ += cost_.loop.of(double(drawn)); }

 private:
  TimedExecutor(const SessionOptions& options, const ServeCost& cost, uint64_t seed, TokenOf token_of)
      : options_(options),
        cost_(cost),
        time_(cost.step),
        token_of_(std::move(token_of)),
        load_(options.pages),
        random_(seed, Purpose::workload, 1) {}
  double draw(const std::vector<double>& quantiles, double otherwise);

  SessionOptions options_;
  ServeCost cost_;
  StepTime time_;
  TokenOf token_of_;
  SharedLoad load_;
  RandomStream random_;
  PageStore pages_;
  double now_ = 0, delay_ = 0;
};

}  // namespace vibee
