// SPDX-License-Identifier: Apache-2.0
#include "vibee/plan/simulate/timed_executor.h"

#include <cmath>
#include <utility>

namespace vibee {
namespace {

class ToldWriter final : public AnswerWriter {
 public:
  ToldWriter(const TimedExecutor::TokenOf& token_of, const GenerateRequest& request)
      : token_of_(token_of), seed_(request.sampling.seed), begin_(request.prompt.size()) {}
  void next(std::span<float>, std::span<const int32_t> tokens, TokenEvent* event) override {
    event->sampled.token = token_of_(seed_, tokens.size() - begin_);
  }

 private:
  const TimedExecutor::TokenOf& token_of_;
  uint64_t seed_;
  size_t begin_;
};

}  // namespace

Result<std::unique_ptr<TimedExecutor>> TimedExecutor::create(const SessionOptions& options, const ServeCost& cost,
                                                             uint64_t seed, TokenOf token_of) {
  std::unique_ptr<TimedExecutor> out(new TimedExecutor(options, cost, seed, std::move(token_of)));
  VIBEE_ASSIGN(out->pages_, PageStore::create({}, options.pages));
  return out;
}

Result<std::unique_ptr<AnswerWriter>> TimedExecutor::open(const GenerateRequest& request) {
  return std::unique_ptr<AnswerWriter>(new ToldWriter(token_of_, request));
}

/// One of the values, between two of them linear.
double TimedExecutor::draw(const std::vector<double>& s, double otherwise) {
  if (s.empty()) return otherwise;
  const double at = double(random_.uniform()) * double(s.size() - 1), below = std::floor(at);
  const size_t i = std::min(size_t(below), s.size() - 1), next = std::min(i + 1, s.size() - 1);
  return s[i] + (s[next] - s[i]) * (at - below);
}

Result<Executor::StepResult> TimedExecutor::step(std::span<const StepRows> rows) {
  const StepLoad load = load_.of(rows);
  for (const StepRows& r : rows) {
    VIBEE_TRY(r.state->reserve(uint32_t(r.tokens.size())));
    r.state->commit(uint32_t(r.tokens.size()));
  }
  const double seconds = time_.seconds(load) * draw(cost_.spread, 1) + draw(cost_.stall, 0) + std::exchange(delay_, 0);
  now_ += seconds;
  return StepResult{{}, 0, seconds};
}

}  // namespace vibee
