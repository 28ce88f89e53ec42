// SPDX-License-Identifier: Apache-2.0
// Which rows run in the next step. A policy is two pure functions of what it is shown: whether the next waiting request
// may start, and how many tokens each running sequence gets. It reads no clock and keeps nothing, so that the engine, a
// simulator and a test can ask the same object. Bytes never depend on its answers, only time does.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "vibee/base/status/status.h"
#include "vibee/serve/batch/step_time.h"

namespace vibee {

/// A running sequence.
struct SeqView {
  uint32_t computed = 0;  ///< tokens whose keys and values exist, reused ones included
  uint32_t missing = 1;   ///< tokens to compute before its next one is known; 1 while it generates
  bool prompt = false;    ///< whether the missing ones are of the prompt
  bool begun = false;     ///< whether any step had rows of it
  float slack_s = 0;      ///< until its next token is due; only of one that generates
};

struct Limits {
  uint32_t max_rows = 0;  ///< rows a step can have
  uint32_t max_seqs = 0;  ///< sequences that may run together
  uint32_t chunk = 0;     ///< rows a step should have, for policies that cut prompts; at most max_rows
  const StepTime* time = nullptr;
};

/// A row of `--policy`. Sequences are shown in order of arrival.
struct SchedulerPolicy {
  std::string_view id;         ///< as the user writes it
  std::string_view technique;  ///< whose row it is; empty for the baseline
  bool (*admits)(std::span<const SeqView> running, const Limits& limits);
  /// `rows[i]` of running[i], 0 to missing, in sum at most max_rows.
  void (*pack)(std::span<const SeqView> running, const Limits& limits, std::span<uint32_t> rows);
  /// Whoever is done keeps its row, which is computed for nothing, until all are done.
  bool keeps_rows = false;
};

// request_level.cc, orca_scheduling.cc, chunked_prefill.cc, sarathi_serve.cc
extern const SchedulerPolicy kRequestLevel, kOrcaScheduling, kChunkedPrefill, kSarathiServe;

std::span<const SchedulerPolicy* const> scheduler_policies();
Result<const SchedulerPolicy*> find_policy(std::string_view id);

/// One row to every sequence that generates; how many that were.
uint32_t pack_generating(std::span<const SeqView> running, std::span<uint32_t> rows);
/// `left` rows to prompts in order of arrival; the first may take all of them.
void pack_prompts(std::span<const SeqView> running, uint32_t left, std::span<uint32_t> rows);

}  // namespace vibee
