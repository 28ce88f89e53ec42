// SPDX-License-Identifier: Apache-2.0
// The executor that computes.
#pragma once

#include <chrono>

#include "vibee/serve/batch/executor.h"

namespace vibee {

class SessionExecutor final : public Executor {
 public:
  explicit SessionExecutor(Session& session) : session_(session) {}
  const SessionOptions& options() const override { return session_.options(); }
  PageStore& pages() override { return session_.pages(); }
  double now() override { return std::chrono::duration<double>(Clock::now() - begin_).count(); }
  Result<std::unique_ptr<AnswerWriter>> open(const GenerateRequest& request) override;
  Result<StepResult> step(std::span<const StepRows> rows) override;

 private:
  using Clock = std::chrono::steady_clock;
  Session& session_;
  const Clock::time_point begin_ = Clock::now();
};

}  // namespace vibee
