// SPDX-License-Identifier: Apache-2.0
// A small new Llama that learns random tokens on ranks that are threads: for checks and benches of what ranks do.
#pragma once

#include <algorithm>
#include <thread>

#include "vibee/core/measure/measure.h"
#include "vibee/dist/transport/local.h"
#include "vibee/dist/transport/shaped.h"
#include "vibee/graph/pass/overlap_compute_comm.h"
#include "vibee/model/arch/arch.h"
#include "vibee/train/loop/new_model.h"
#include "vibee/train/loop/train_step.h"

namespace vibee {

struct TrialTraining {
  NewModel model;
  TrainStepOptions options;
  uint32_t rows = 4, length = 32;  ///< of a step, of a row
  uint32_t masked = UINT32_MAX;    ///< a row of which nothing is to be learnt
  uint32_t steps = 3;
  LinkShape link;

  TrialTraining() {
    model.dim = 32;
    model.layers = 2;
    model.heads = 2;
    model.vocab = 64;
    model.context = 512;
    options.isa = detected_isa();
  }

  struct Run {
    std::vector<uint8_t> state;   ///< of every rank, one behind the other
    std::vector<double> seconds;  ///< of each step, on rank 0
    TrainTrace trace;             ///< of its last step
    std::vector<TimeSpan> compute() const {
      std::vector<TimeSpan> spans;
      for (const auto& span : trace.compute) spans.push_back({span.begin, span.end});
      return spans;
    }
    std::vector<TimeSpan> communicate() const {
      std::vector<TimeSpan> spans;
      for (const auto& span : trace.communicate) spans.push_back({span.begin, span.end});
      return spans;
    }
  };

  /// On one rank without any transport (0), or on so many with one.
  Result<Run> run(uint32_t ranks) const {
    std::vector<Run> runs(std::max(1u, ranks));
    std::vector<Status> statuses(runs.size());
    auto ends = local_network(uint32_t(runs.size()));
    std::vector<std::thread> threads;
    for (uint32_t r = 0; r < runs.size(); ++r)
      threads.emplace_back([&, r] {
        if (ranks == 0) {
          statuses[r] = run_rank(nullptr, &runs[r]);
          return;
        }
        CommThread comm(link.latency > 0 || link.bytes_per_second > 0 ? shaped(std::move(ends[r]), link)
                                                                      : std::move(ends[r]));
        statuses[r] = run_rank(&comm, &runs[r]);
      });
    for (std::thread& thread : threads) thread.join();
    for (Status& status : statuses) VIBEE_TRY(std::move(status));
    for (size_t r = 1; r < runs.size(); ++r)
      if (runs[r].state != runs[0].state) return error(Code::corrupt, "rank {} has other bytes than rank 0", r);
    return std::move(runs[0]);
  }

  /// What a step takes on one rank.
  Result<TrainStep::Memory> memory() const {
    VIBEE_ASSIGN(const Checkpoint file, new_checkpoint(model, {}));
    VIBEE_ASSIGN(const ModelConfig config, read_config(file));
    TrainStepOptions o = options;
    o.max_rows = length * rows;
    return TrainStep::memory(file, config, o);
  }

 private:
  Status run_rank(CommThread* ranks, Run* out) const {
    VIBEE_ASSIGN(const Checkpoint file, new_checkpoint(model, {}));
    VIBEE_ASSIGN(const ModelConfig config, read_config(file));
    TrainStepOptions o = options;
    o.ranks = ranks;
    o.max_rows = length * ((rows + o.shares - 1) / o.shares);
    VIBEE_ASSIGN(const std::unique_ptr<TrainStep> step, TrainStep::create(file, config, o));
    Status status = learn(*step, out);
    if (!status.ok() && ranks != nullptr) ranks->abort(status.message());
    return status;
  }

  Status learn(TrainStep& step, Run* out) const {
    for (uint32_t t = 0; t < steps; ++t) {
      const Timer timer;
      for (uint32_t s = step.shares().first; s < step.shares().end; ++s) {
        std::vector<int32_t> tokens, targets, documents;
        const Range mine = share(rows, s, options.shares);
        for (uint32_t row = mine.begin; row < mine.end; ++row)
          for (uint32_t i = 0; i < length; ++i) {
            const auto token = [&](uint32_t at) { return int32_t((row * 7 + t * 3 + at * at) % model.vocab); };
            tokens.push_back(token(i));
            targets.push_back(row == masked ? -1 : token(i + 1));
            documents.push_back(int32_t((row - mine.begin) * length));
          }
        const std::vector<float> weights(tokens.size(), 1.0f / float(rows * length));
        VIBEE_TRY(step.add({tokens, targets, documents, weights}));
      }
      VIBEE_ASSIGN([[maybe_unused]] const TrainUpdate done, step.update());
      out->seconds.push_back(timer.seconds());
    }
    for (const StatePart& part : step.state())
      out->state.insert(out->state.end(), part.bytes.begin(), part.bytes.end());
    out->trace = step.trace();
    return {};
  }
};

}  // namespace vibee
