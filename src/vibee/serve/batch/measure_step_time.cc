// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <map>

#include "vibee/core/measure/measure.h"
#include "vibee/serve/batch/step_time.h"

namespace vibee {
namespace {

constexpr uint32_t kBehind = 256;  // keys of a sequence that generates, in the measurement

class Probe {
 public:
  explicit Probe(Session& session) : session_(session) {
    tokens_.resize(session.options().max_rows);
    for (size_t i = 0; i < tokens_.size(); ++i) tokens_[i] = int32_t(i % session.model().config().vocab);
  }

  Status extend(SequenceState* state, uint32_t to) {
    while (state->length() < to) {
      const uint32_t n = std::min<uint32_t>(session_.options().max_rows, to - state->length());
      const StepRows part{state, std::span(tokens_).first(n), 0};
      VIBEE_TRY(session_.step({&part, 1}).take_status());
    }
    return {};
  }

  /// Seconds of one step of `rows` rows each, the last `logits` of them with logits; afterwards the sequences are as
  /// before.
  Result<double> time(std::span<SequenceState> states, uint32_t rows, uint32_t logits) {
    std::vector<StepRows> step;
    std::vector<uint32_t> before;
    for (SequenceState& s : states) {
      step.push_back({&s, std::span(tokens_).first(rows), logits});
      before.push_back(s.length());
    }
    const Timer timer;
    VIBEE_TRY(session_.step(step).take_status());
    const double seconds = timer.seconds();
    for (size_t i = 0; i < states.size(); ++i) states[i].truncate(before[i]);
    return seconds;
  }

 private:
  Session& session_;
  std::vector<int32_t> tokens_;
};

/// 1, 2, 3, 4, 6, 8, 12, ... and `most`: the widths of kernels change among the small ones.
std::vector<uint32_t> counts(uint32_t most) {
  std::vector<uint32_t> out;
  for (uint32_t n = 1; n < most; n *= 2) {
    out.push_back(n);
    if (n > 1 && n + n / 2 < most) out.push_back(n + n / 2);
  }
  out.push_back(most);
  return out;
}

}  // namespace

Result<StepTime> measure_step_time(Session& session, uint32_t rounds) {
  const SessionOptions& o = session.options();
  const uint32_t most = std::min(o.max_rows, o.context);
  const std::vector<uint32_t> rows = counts(most), logits = counts(std::min(o.max_logits, most));
  // As many sequences as there is room for; one of them is made longer for rows that share their keys.
  const uint32_t few = std::min(16u, most), behind = std::min(kBehind, o.context - few),
                 far = std::min(2 * kBehind, o.context - few);
  const uint64_t room = uint64_t(session.pages().pages()) * kPageTokens;
  const uint32_t many =
      uint32_t(std::clamp<uint64_t>((room - std::min<uint64_t>(room, far + few)) / (behind + kPageTokens), 1,
                                    std::min({4u, o.sequences, o.max_rows, o.max_logits})));
  Probe probe(session);
  std::vector<SequenceState> empty, full, one;
  for (uint32_t i = 0; i < many; ++i) empty.push_back(session.new_sequence());
  for (uint32_t i = 0; i < many; ++i) {
    full.push_back(session.new_sequence());
    VIBEE_TRY(probe.extend(&full.back(), behind));
  }
  enum Kind : uint32_t { by_rows, by_logits, near_rows, far_rows, near_many, far_many };
  std::map<std::pair<Kind, uint32_t>, std::vector<double>> seen;
  const auto take = [&](Kind kind, uint32_t n, std::span<SequenceState> states, uint32_t rows_each,
                        uint32_t wanted) -> Status {
    VIBEE_ASSIGN(const double seconds, probe.time(states, rows_each, wanted));
    seen[{kind, n}].push_back(seconds);
    return {};
  };
  // In turns, so that a machine that changes its speed changes all of them; the first round only warms.
  for (uint32_t round = 0; round <= rounds; ++round) {
    if (round == 1) seen.clear();
    const std::span<SequenceState> first = std::span(empty).first(1);
    for (const uint32_t n : rows) VIBEE_TRY(take(by_rows, n, first, n, 1));
    for (const uint32_t n : logits) VIBEE_TRY(take(by_logits, n, first, logits.back(), n));
    VIBEE_TRY(take(near_rows, 0, first, few, 1));
    VIBEE_TRY(take(near_many, 0, empty, 1, 1));
    VIBEE_TRY(take(far_many, 0, full, 1, 1));
  }
  VIBEE_TRY(probe.extend(&full.front(), far));
  for (uint32_t round = 0; round < rounds; ++round) VIBEE_TRY(take(far_rows, 0, std::span(full).first(1), few, 1));
  const auto of = [&](Kind kind, uint32_t n) { return median(seen[{kind, n}]); };

  StepCurves out;
  // Beyond what the same rows take near: `few` rows of one sequence read far keys once, rows of many read them each.
  const double shared = far > 0 ? std::max(0.0, of(far_rows, 0) - of(near_rows, 0)) / far : 0;
  const double alone = behind > 0 ? std::max(0.0, of(far_many, 0) - of(near_many, 0)) / (double(many) * behind) : 0;
  out.per_row_key = few > 1 ? std::clamp((shared - alone) / (few - 1), 0.0, alone) : 0;
  out.per_key = alone - out.per_row_key;
  for (const uint32_t n : rows) {
    const double keys = out.per_row_key * double(n) * (n + 1) / 2 + out.per_key * n;
    out.rows.push_back({n, std::max(0.0, of(by_rows, n) - keys)});
  }
  for (const uint32_t n : logits) out.logits.push_back({n, std::max(0.0, of(by_logits, n) - of(by_logits, 1))});
  return StepTime(std::move(out));
}

}  // namespace vibee
