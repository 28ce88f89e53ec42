// SPDX-License-Identifier: Apache-2.0
// A schedule log (serve/batch/schedule_log.h) decided again: the engine gets what it got, at the times of the log and
// with the times of its steps, and has to write the same lines.
#pragma once

#include <functional>
#include <optional>
#include <string_view>

#include "vibee/serve/batch/engine.h"

namespace vibee {

struct ReplayReport {
  uint64_t steps = 0, requests = 0;
  struct Difference {
    uint64_t line = 0;  ///< of the log, from 1
    std::string logged, decided;
  };
  std::optional<Difference> difference;  ///< the first one: nothing behind it was replayed
  EngineStats stats;
};

/// A step as it ran, and what came before it.
struct ReplayedStep {
  StepLoad load;  ///< keys that are shared counted once; without rows: nobody had any
  double at_s = 0, seconds = 0, end_s = 0;
  uint32_t drawn = 0;         ///< tokens
  uint32_t asked = 0;         ///< requests since the step before it was decided
  uint64_t asked_tokens = 0;  ///< and the tokens of their prompts
  bool follows = false;       ///< whether the engine went on from the step before it
};

/// `name` is the log's in messages. Errors: what is no log, with its line. An incomplete last line is left out: the
/// server may have ended while it wrote.
Result<ReplayReport> replay_schedule(std::string_view log, std::string_view name,
                                     const std::function<void(const ReplayedStep&)>& on_step = {});

}  // namespace vibee
