// SPDX-License-Identifier: Apache-2.0
// A schedule log (serve/batch/schedule_log.h) decided again: the engine gets what it got, at the times of the log and
// with the times of its steps, and has to write the same lines.
#pragma once

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

/// `name` is the log's in messages. Errors: what is no log, with its line. An incomplete last line is left out: the
/// server may have ended while it wrote.
Result<ReplayReport> replay_schedule(std::string_view log, std::string_view name);

}  // namespace vibee
