// SPDX-License-Identifier: Apache-2.0
// What a run of `vibee train` will take, before it begins: the graph, the memory and the parts are those of the run
// (train_setup.h, TrainStep::memory), times are prices of its nodes on a machine's rates (plan/train/train_price.h).
#pragma once

#include <string>
#include <vector>

#include "vibee/app/jobs/train_setup.h"
#include "vibee/plan/train/train_price.h"

namespace vibee {

/// The machine that is planned for, beside its rates.
struct TrainMachine {
  uint32_t cores = 1;
  uint64_t memory = 0;  ///< bytes that a run may take
};
/// Ranks of the run, all on the machine: threads of one process (`vibee train --emulate`) or processes.
struct TrainRanks {
  uint32_t count = 1;
  bool one_process = true;
};
/// Threads of each rank, as `vibee train` and `vibee launch` choose them, and all that run at once.
uint32_t threads_of_rank(const TrainConfig& config, const TrainRanks& ranks, uint32_t cores);
uint32_t threads_at_once(const TrainConfig& config, const TrainRanks& ranks, uint32_t cores);

struct TrainForecast {
  std::string model;  ///< what is trained, as one line
  std::string data;   ///< where lengths of documents come from
  uint64_t trained = 0, frozen = 0;
  uint32_t ranks = 1, threads = 1;  ///< threads: of a rank
  std::string recompute;
  uint32_t part = 0;        ///< rows that are computed at once
  uint64_t tokens = 0;      ///< of a step, over all ranks
  double flops = 0;         ///< of a step, over all ranks
  double bytes = 0;         ///< read and written by a step, over all ranks, if caches kept nothing
  TimeStack step;           ///< a rank's step
  double step_seconds = 0;  ///< the sum
  double peak_flops = 0;    ///< of the machine's threads that are used
  double evaluation_seconds = 0, checkpoint_seconds = 0, run_seconds = 0;
  uint64_t steps = 0, evaluations = 0, checkpoints = 0;
  /// Bytes of a process, which may have several ranks; the first five are what TrainStep states.
  struct Memory {
    uint64_t weights = 0, frozen = 0, moments = 0, gradients = 0, arena = 0;
    uint64_t checkpoint = 0;  ///< the copy that is written while training goes on, of rank 0
    uint64_t exchange = 0;    ///< what ranks receive into
    uint64_t program = 0;     ///< code, the tokenizer, the graph
    uint64_t sum() const { return weights + frozen + moments + gradients + arena + checkpoint + exchange + program; }
  } memory;
  uint64_t disk = 0;     ///< bytes of moments that are paged, of all ranks
  uint64_t allowed = 0;  ///< bytes
  bool fits = true;      ///< what the steps of all ranks take
  /// The most rows that can be computed at once, by level of recomputation: of the one that is used where it fits, of
  /// all that help where it does not.
  std::vector<FittingPart> settings;

  double tokens_per_second() const { return double(tokens) / step_seconds; }
  double peak_share() const { return flops / step_seconds / peak_flops; }
};

/// An error for what training would refuse too, but not for memory. Stores that are not there yet are no error: rows
/// are taken to be one document each.
Result<TrainForecast> forecast_training(const TrainConfig& config, const TrainRanks& ranks, const TrainMachine& machine,
                                        const MachineRates& rates);

std::string forecast_text(const TrainForecast& forecast);
std::string forecast_json(const TrainForecast& forecast);

}  // namespace vibee
