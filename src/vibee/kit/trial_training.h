// SPDX-License-Identifier: Apache-2.0
// A small new model that learns random tokens, or bytes of a text, on ranks that are threads: for checks and benches of
// what training does.
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <thread>

#include "vibee/core/measure/measure.h"
#include "vibee/core/technique/context.h"
#include "vibee/dist/transport/local.h"
#include "vibee/dist/transport/shaped.h"
#include "vibee/graph/pass/overlap_compute_comm.h"
#include "vibee/model/arch/arch.h"
#include "vibee/train/data/stories.h"
#include "vibee/train/loop/new_model.h"
#include "vibee/train/loop/recompute_budget.h"
#include "vibee/train/loop/schedule.h"
#include "vibee/train/loop/train_step.h"

namespace vibee {

struct TrialTraining {
  NewModel model;
  TrainStepOptions options;
  uint32_t rows = 4, length = 32;  ///< of a step, of a row
  uint32_t masked = UINT32_MAX;    ///< a row of which nothing is to be learnt
  uint32_t steps = 3;
  LinkShape link;
  std::string text;               ///< whose bytes are tokens; empty: random ones
  std::optional<Schedule> rates;  ///< else that of the optimiser
  bool keep_state = true;         ///< the state behind the last step is copied
  uint32_t held_out = 0;          ///< rows at the text's end that are not learnt, on which the loss is measured at last
  std::vector<uint8_t> start;     ///< a run's state behind `done` steps, on one rank; empty: new weights
  uint32_t done = 0;

  TrialTraining() {
    model.dim = 32;
    model.layers = 2;
    model.heads = 2;
    model.vocab = 64;
    model.context = 512;
    options.isa = detected_isa();
  }

  /// One whose memory is mostly what the backward pass keeps, for benches.
  static TrialTraining of_activations(const RunSettings& settings) {
    const bool quick = settings.quick;
    TrialTraining trial;
    trial.model.dim = quick ? 256 : 384;
    trial.model.layers = quick ? 4 : 8;
    trial.model.heads = 4;
    trial.model.vocab = quick ? 256 : 8192;
    trial.rows = quick ? 4 : 16;
    trial.length = 256;
    trial.steps = quick ? 3 : 5;
    trial.options.isa = settings.isa;
    trial.options.threads = settings.threads;
    return trial;
  }

  /// To learn the bytes of stories (train/data/stories.h), in a model for them.
  Status tell_stories(size_t bytes) {
    VIBEE_ASSIGN(const Storyteller teller, Storyteller::own());
    VIBEE_ASSIGN(text, teller.tell_bytes(1, bytes));
    model.vocab = 256;
    return {};
  }

  struct Run {
    std::vector<uint8_t> state;   ///< of every rank, one behind the other
    double held_out = 0;          ///< loss, on rank 0
    uint32_t skipped = 0;         ///< steps whose gradients overflowed
    std::vector<double> updates;  ///< seconds of each update, on rank 0
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

  /// Whether runs on other machines, as it were, have the bytes of one with two shares on one thread, and that one's.
  struct Elsewhere {
    std::vector<uint8_t> state;
    std::vector<std::pair<std::string_view, bool>> same;
  };
  Result<Elsewhere> elsewhere() const {
    TrialTraining trial = *this;
    trial.options.shares = 2, trial.options.threads = 1;
    VIBEE_ASSIGN(Run one, trial.run(0));
    Elsewhere out{std::move(one.state), {}};
    const auto add = [&](std::string_view what, const TrialTraining& other, uint32_t ranks) -> Status {
      VIBEE_ASSIGN(const Run run, other.run(ranks));
      out.same.emplace_back(what, run.state == out.state);
      return {};
    };
    VIBEE_TRY(add("on 2 ranks", trial, 2));
    TrialTraining other = trial;
    other.options.threads = 3;
    VIBEE_TRY(add("on 3 threads", other, 0));
    other = trial, other.options.isa = Isa::scalar;
    VIBEE_TRY(add("on scalar code", other, 0));
    other = trial, other.options.recompute = Recompute::full;
    VIBEE_TRY(add("with the forward pass computed again", other, 0));
    return out;
  }

  /// What a step takes on one rank.
  Result<TrainStep::Memory> memory() const {
    VIBEE_ASSIGN(const Checkpoint file, new_checkpoint(model, {}));
    VIBEE_ASSIGN(const ModelConfig config, read_config(file));
    TrainStepOptions o = options;
    o.max_rows = length * rows;
    return TrainStep::memory(file, config, o);
  }

  /// Levels of the layers with which a step takes at most so many bytes.
  Result<std::vector<Recompute>> levels_within(uint64_t budget) const {
    VIBEE_ASSIGN(const Checkpoint file, new_checkpoint(model, {}));
    VIBEE_ASSIGN(const ModelConfig config, read_config(file));
    TrainStepOptions o = options;
    o.max_rows = length * rows;
    return vibee::levels_within(file, config, o, length, budget);
  }

  /// What a layer adds to the arena: of models of 8 layers and of 4. Many rows make that what the backward pass reads.
  Result<double> arena_of_a_layer() const {
    TrialTraining deep = *this, flat = *this;
    deep.model.layers = 8;
    flat.model.layers = 4;
    VIBEE_ASSIGN(const TrainStep::Memory more, deep.memory());
    VIBEE_ASSIGN(const TrainStep::Memory less, flat.memory());
    return (double(more.arena) - double(less.arena)) / 4;
  }

  /// The steps, on one rank.
  Status learn(TrainStep& step, Run* out) const {
    for (uint32_t t = done; t < done + steps; ++t) {
      const Timer timer;
      if (rates) step.set_rate(rate_at(*rates, t + 1));
      for (uint32_t s = step.shares().first; s < step.shares().end; ++s) {
        Rows part;
        const Range mine = share(rows, s, options.shares);
        for (uint32_t row = mine.begin; row < mine.end; ++row) {
          const uint64_t place = philox(options.precision.seed, Purpose::test, row, t)[0];
          if (text.empty()) {
            part.add(length, row == masked,
                     [&](uint32_t at) { return int32_t((row * 7 + t * 3 + at * at) % model.vocab); });
          } else {
            part.add(length, row == masked, [&](uint32_t at) { return byte(place % (learnt() - length), at); });
          }
        }
        VIBEE_TRY(step.add(part.batch(1.0f / float(rows * length))));
      }
      const Timer update;
      VIBEE_ASSIGN(const TrainUpdate done, step.update());
      out->updates.push_back(update.seconds());
      out->seconds.push_back(timer.seconds());
      out->skipped += done.skipped();
    }
    for (uint32_t row = 0; row < held_out; ++row) {
      Rows one;
      one.add(length, false, [&](uint32_t at) { return byte(learnt() + uint64_t(row) * length, at); });
      VIBEE_ASSIGN(const float loss, step.evaluate(one.batch(1.0f / float(length))));
      out->held_out += double(loss) / held_out;
    }
    for (const StatePart& part : keep_state ? step.state() : std::vector<StatePart>()) {
      std::vector<uint8_t> room;
      VIBEE_ASSIGN(const auto bytes, part.slice(0, part.size(), &room));
      out->state.insert(out->state.end(), bytes.begin(), bytes.end());
    }
    out->trace = step.trace();
    return {};
  }

 private:
  /// Rows one behind the other, each a document.
  struct Rows {
    std::vector<int32_t> tokens, targets, documents;
    std::vector<float> weights;
    template <class F>
    void add(uint32_t length, bool masked, F&& token) {
      const auto first = int32_t(tokens.size());
      for (uint32_t i = 0; i < length; ++i) {
        tokens.push_back(token(i));
        targets.push_back(masked ? -1 : token(i + 1));
        documents.push_back(first);
      }
    }
    TrainBatch batch(float weight) {
      weights.assign(tokens.size(), weight);
      return {tokens, targets, documents, weights};
    }
  };
  /// Bytes of the text that are learnt, which are before those that are not.
  uint64_t learnt() const { return text.size() - uint64_t(held_out) * length - 1; }
  int32_t byte(uint64_t first, uint32_t at) const { return uint8_t(text[first + at]); }

  Status run_rank(CommThread* ranks, Run* out) const {
    VIBEE_ASSIGN(const Checkpoint file, new_checkpoint(model, {}));
    VIBEE_ASSIGN(const ModelConfig config, read_config(file));
    TrainStepOptions o = options;
    o.ranks = ranks;
    o.max_rows = length * ((rows + o.shares - 1) / o.shares);
    VIBEE_ASSIGN(const std::unique_ptr<TrainStep> step, TrainStep::create(file, config, o));
    uint64_t at = 0;
    for (const StatePart& part : start.empty() ? std::vector<StatePart>() : step->state()) {
      VIBEE_TRY(part.put(0, std::span(start).subspan(at, part.size())));
      at += part.size();
    }
    if (!start.empty()) VIBEE_TRY(step->resume(done));
    Status status = learn(*step, out);
    if (!status.ok() && ranks != nullptr) ranks->abort(status.message());
    return status;
  }
};

}  // namespace vibee
