// SPDX-License-Identifier: Apache-2.0
// What an engine steps through: the pages that its sequences live on, a clock, whoever runs the rows of a step and
// makes tokens of what they give. A session (session_executor.h) computes; others answer how long it would have taken
// (plan/simulate), and the engine decides alike, because it sees nothing else.
#pragma once

#include <memory>
#include <span>

#include "vibee/model/session/session.h"
#include "vibee/serve/batch/request.h"

namespace vibee {

/// Makes the tokens of one answer.
class AnswerWriter {
 public:
  virtual ~AnswerWriter() = default;
  /// The next token behind `tokens`, given the logits [vocabulary] of the last of them: fills the event's `sampled`,
  /// `text`, and `finish` where the answer ends by itself, and adds to its `times.grammar`.
  virtual void next(std::span<float> logits, std::span<const int32_t> tokens, TokenEvent* event) = 0;
  /// A token that the answer has already: its text is known where it was given.
  virtual void resume(int32_t token) {}
  /// The text that was held back, for an answer that is ended by others.
  virtual std::string rest() { return {}; }
  /// How likely a given token was.
  virtual Sampled score(std::span<const float> logits, int32_t token, uint32_t alternatives) { return {token, 0, {}}; }
};

class Executor {
 public:
  virtual ~Executor() = default;
  /// What a step can have and who may run; bounds of every decision.
  virtual const SessionOptions& options() const = 0;
  virtual PageStore& pages() = 0;
  /// Seconds since some start; never goes back.
  virtual double now() = 0;
  /// An error when the request's parameters are out of range.
  virtual Result<std::unique_ptr<AnswerWriter>> open(const GenerateRequest& request) = 0;

  struct StepResult {
    std::span<float> logits;  ///< [rows asked for][width]; valid until the next step
    size_t width = 0;         ///< the vocabulary; 0: nobody needs logits to know the tokens
    double seconds = 0;
  };
  /// Every sequence advances by its tokens. On an error none has changed.
  virtual Result<StepResult> step(std::span<const StepRows> rows) = 0;
};

}  // namespace vibee
