// SPDX-License-Identifier: Apache-2.0
// Training on token stores: a model from nothing or from one that is there, or an adapter of one, with evaluation,
// checkpoints and going on.
#pragma once

#include <functional>
#include <limits>
#include <memory>
#include <string>

#include "vibee/app/jobs/train_config.h"
#include "vibee/dist/collective/comm_thread.h"
#include "vibee/train/loop/train_step.h"

namespace vibee {

struct TrainProgress {
  uint64_t step = 0, steps = 0;  ///< done, of the run
  double loss = 0;               ///< a token of the step
  double norm = 0, rate = 0;
  double tokens_per_second = 0, seconds_left = 0;
  uint64_t tokens = 0;  ///< since the run began, over all resumes
};
struct TrainEvaluation {
  uint64_t step;
  double loss;  ///< a token of the held-out rows
  bool best;    ///< of the run so far
};

struct TrainSample {
  uint64_t step;
  std::string prompt, text;
};

struct TrainEvents {
  /// What is trained, before the first step, as one line.
  std::function<void(const std::string&)> begin = [](const std::string&) {};
  /// After every step; false stops the run with a checkpoint.
  std::function<bool(const TrainProgress&)> step = [](const TrainProgress&) { return true; };
  std::function<void(const TrainEvaluation&)> evaluated = [](const TrainEvaluation&) {};
  std::function<void(const TrainSample&)> sampled = [](const TrainSample&) {};
  /// What is worth a line and no error.
  std::function<void(const std::string&)> said = [](const std::string&) {};
  /// Behind the last step, where there are ranks: what it spent its time with on rank 0.
  std::function<void(const TrainTrace&)> traced = [](const TrainTrace&) {};
};

struct TrainReport {
  /// The paths that were written last; no model or adapter where the run was stopped or trains none.
  std::string model, adapter, checkpoint;
  uint64_t steps = 0, resumed = 0, tokens = 0;
  double loss = std::numeric_limits<double>::quiet_NaN();  ///< of the last step; NaN where none was left to do
  double best = 0;  ///< lowest loss of an evaluation; infinite where there was none
  bool stopped = false;
  double seconds = 0;
};

/// Writes OUT/model.gguf or OUT/adapter.gguf, OUT/metrics.jsonl, OUT/report.html and OUT/checkpoints. `resume`: goes on
/// from the last checkpoint there, with the bytes that a run without a stop would have. A folder with checkpoints is
/// refused otherwise. With `ranks`, this process is one of them: rank 0 alone tells of events, evaluates and writes.
/// All that a rank does depends on the configuration and the folder, which it shares with the others.
Result<TrainReport> train(const TrainConfig& config, bool resume, const TrainEvents& events,
                          CommThread* ranks = nullptr);
/// The same over so many ranks, each with all its state, that are threads of this process.
Result<TrainReport> train_emulated(const TrainConfig& config, bool resume, const TrainEvents& events, uint32_t ranks);
/// The end of this rank in a job, on the link that the configuration says.
std::unique_ptr<Transport> link_of(const TrainConfig& config, std::unique_ptr<Transport> transport);

}  // namespace vibee
