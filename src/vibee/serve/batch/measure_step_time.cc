// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <chrono>

#include "vibee/serve/batch/step_time.h"

namespace vibee {
namespace {

/// Seconds of one step of `rows` rows behind `before` tokens.
Result<double> time_step(Session& session, uint32_t before, uint32_t rows) {
  const uint32_t vocab = session.model().config().vocab;
  std::vector<int32_t> tokens(std::max(before, rows));
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = int32_t(i % vocab);
  SequenceState state = session.new_sequence();
  for (uint32_t at = 0; at < before;) {
    const uint32_t n = std::min(session.options().max_rows, before - at);
    const StepRows part{&state, std::span(tokens).first(n), 0};
    VIBEE_TRY(session.step({&part, 1}).take_status());
    at += n;
  }
  double best = 1e30;
  for (int i = 0; i < 3; ++i) {  // what disturbs a step only ever makes it longer
    const StepRows step{&state, std::span(tokens).first(rows), 1};
    const auto begin = std::chrono::steady_clock::now();
    VIBEE_TRY(session.step({&step, 1}).take_status());
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    state.truncate(before);
  }
  return best;
}

}  // namespace

Result<StepTime> measure_step_time(Session& session) {
  const uint32_t most = std::min(session.options().max_rows, session.options().context);
  std::vector<StepTime::Point> curve;
  for (uint32_t rows = 1;; rows = std::min(rows * 2, most)) {
    VIBEE_ASSIGN(const double seconds, time_step(session, 0, rows));
    curve.push_back({rows, seconds});
    if (rows == most) break;
  }
  // The same rows behind many keys.
  const uint32_t rows = std::min(16u, most), before = std::min(session.options().context - rows, 1024u);
  double per_key = 0;
  if (before > 0) {
    VIBEE_ASSIGN(const double near, time_step(session, 0, rows));
    VIBEE_ASSIGN(const double far, time_step(session, before, rows));
    per_key = std::max(0.0, far - near) / (double(rows) * before);
  }
  for (StepTime::Point& p : curve) p.seconds = std::max(0.0, p.seconds - per_key * double(p.rows) * (p.rows + 1) / 2);
  return StepTime(std::move(curve), per_key);
}

}  // namespace vibee
