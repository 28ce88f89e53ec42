// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/jobs/train_forecast.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

#include "vibee/app/jobs/train_setup.h"
#include "vibee/base/memory/huge_buffer.h"
#include "vibee/base/text/quote.h"
#include "vibee/dist/transport/local.h"
#include "vibee/graph/pass/gradient_bucket.h"

namespace vibee {
namespace {

constexpr uint32_t kSampledRows = 256;
/// Code, stacks and buffers that only a run touches, measured: 3 to 5 MiB.
constexpr uint64_t kRunning = 3 << 20;

/// Documents and targets of a row: the mean over the first ones that the run will see.
struct MeanRow {
  TrainedRows row;
  std::string said;
};

TrainedRows times(const TrainedRows& row, double rows) {
  TrainedRows out = row;
  for (TrainedRows::Documents& d : out.documents) d.count *= rows;
  out.targets *= rows;
  return out;
}

Result<MeanRow> mean_row(const TrainConfig& c, const Beginning& model) {
  MeanRow out{{{{double(c.length), 1.0}}, double(c.length)}, "no data: a row is taken to be one document"};
  if (c.stores.empty()) return out;
  auto stores = open_stores(c.stores, model, model.config.vocab, c.length);
  if (!stores.ok()) {
    const Code code = stores.status().code();
    if (code != Code::not_found && code != Code::io) return stores.take_status();
    out.said = fmt::format("{}; a row is taken to be one document", stores.status().message());
    return out;
  }
  VIBEE_ASSIGN(const RowSampler sampler, make_sampler(c, *stores));
  std::map<uint32_t, uint32_t> lengths;
  double targets = 0;
  TrainingRow row;
  for (uint32_t g = 0; g < kSampledRows; ++g) {
    const Sample sample = sampler.at(g);
    VIBEE_TRY(read_row((*stores)[sample.source], sample.row, c.length, &row));
    for (size_t d = 0; d < row.borders.size(); ++d)
      ++lengths[(d + 1 < row.borders.size() ? row.borders[d + 1] : c.length) - row.borders[d]];
    for (const float weight : row.weights) targets += weight > 0 ? 1 : 0;
  }
  out.row = {{}, targets / kSampledRows};
  double documents = 0;
  for (const auto& [length, count] : lengths) {
    out.row.documents.push_back({double(length), double(count) / kSampledRows});
    documents += double(count) / kSampledRows;
  }
  out.said =
      fmt::format("{:.1f} documents and {:.0f} targets a row, of {} rows", documents, out.row.targets, kSampledRows);
  return out;
}

class Forecaster {
 public:
  Forecaster(const TrainConfig& config, const TrainRanks& ranks, const TrainMachine& machine, const MachineRates& rates)
      : c_(config), ranks_(ranks), machine_(machine), rates_(rates), ends_(local_network(ranks.count)) {
    // Only asked for its number and theirs.
    if (ranks.count > 1) first_ = std::make_unique<CommThread>(std::move(ends_[0]));
  }

  Result<TrainForecast> run() {
    const uint64_t before = resident_memory();
    VIBEE_ASSIGN(Beginning model, begin_model(c_));
    model_.emplace(std::move(model));
    VIBEE_ASSIGN(options_, step_options(c_, ranks_.count));
    options_.ranks = first_.get();
    options_.threads = threads_of_rank(c_, ranks_, machine_.cores);
    Status fits = choose_recompute(c_, model_->file, model_->config, &options_);
    if (!fits.ok() && fits.code() != Code::no_memory) return fits;
    VIBEE_ASSIGN(const MeanRow mean, mean_row(c_, *model_));
    row_ = mean.row;
    VIBEE_ASSIGN(graph_, TrainStep::graph(model_->file, model_->config, options_));
    out_.data = mean.said;
    out_.ranks = ranks_.count;
    out_.threads = options_.threads;
    out_.part = options_.max_rows / c_.length;
    out_.steps = c_.rates.steps;
    out_.tokens = uint64_t(c_.batch) * c_.length;
    for (const RecomputeName& level : recompute_levels())
      if (level.level == options_.recompute) out_.recompute = level.name;
    if (!options_.recompute_layers.empty()) out_.recompute = c_.recompute;
    parameters();
    VIBEE_ASSIGN(memory_, TrainStep::memory(model_->file, model_->config, options_));
    moments_ = std::max(memory_.moments, memory_.moments_file);
    time();
    VIBEE_TRY(memory(before));
    return std::move(out_);
  }

 private:
  void parameters() {
    for (const Node& node : graph_.nodes)
      if (node.op == Op::weight) out_.frozen += uint64_t(elements(graph_.type(node.out[0]), {}));
    for (size_t i = 1; i < graph_.outputs.size(); ++i)
      out_.trained += uint64_t(elements(graph_.type(graph_.outputs[i]), {}));
    out_.frozen -= out_.trained;
    out_.model = c_.lora.rank > 0
                     ? fmt::format("an adapter of {} parameters to {} ({})", out_.trained, out_.frozen,
                                   model_->config.architecture)
                     : fmt::format("{} parameters ({})", out_.trained + out_.frozen, model_->config.architecture);
  }

  /// Ranks share the machine: each takes as much longer as there are of them than all its threads would for the same
  /// work.
  double shared(double seconds) const { return seconds * ranks_.count; }

  void time() {
    const TrainPrice price(graph_, rates_);
    std::map<uint32_t, TimeStack> parts;  // by rows
    const auto trained = double(out_.trained);
    const double sum = rates_.seconds("add", {trained}, trained);
    const auto range = deal_shares(options_.shares, ranks_.count)[0];
    std::vector<double> ready;
    double before_last = 0;  // of the part whose gradients go over ranks
    for (uint32_t s = 0; s < options_.shares; ++s) {
      const Range rows = share(c_.batch, s, options_.shares);
      for (uint32_t from = rows.begin; from < rows.end; from += c_.part) {
        const TrainedRows part = times(row_, std::min(rows.end, from + c_.part) - from);
        out_.flops += price.flops(part);
        for (const Node& node : graph_.nodes) {
          const StepCost cost = train_node_cost(graph_, node, part);
          out_.bytes += cost.weight_bytes + cost.row_bytes;
        }
        if (s < range.first || s >= range.end) continue;
        const auto n = uint32_t(std::llround(part.rows()));
        if (!parts.contains(n)) parts[n] = price.part(part, &ready);
        before_last = shared(out_.step.sum());
        out_.step += parts[n];
        if (options_.sums()) out_.step[Reason::sums] += sum;
      }
      if (s > range.first && s < range.end) out_.step[Reason::sums] += sum;
    }
    out_.step[Reason::optimiser] = rates_.seconds("update", {trained}, trained);
    // The gradient is read, the weight and its moments are read and written.
    out_.bytes += ranks_.count * (12.0 * trained + 2.0 * double(moments_));
    for (double& seconds : out_.step.seconds) seconds = shared(seconds);
    if (ranks_.count > 1) communicate(ready, before_last);
    out_.step_seconds = out_.step.sum();
    out_.peak_flops = rates_.fma_flops;
    run_time(price);
  }

  /// The sums over ranks: what they take of the cores, and what the step waits for a slower link.
  void communicate(const std::vector<double>& ready, double before) {
    const std::vector<uint32_t> order = ready_order(graph_);
    std::vector<uint64_t> sizes;
    std::vector<double> at;
    for (const uint32_t i : order) {
      sizes.push_back(4 * uint64_t(elements(graph_.type(graph_.outputs[i]), {})));
      at.push_back(before + shared(ready[i]));
    }
    const std::vector<size_t> ends = bucket_ends(sizes, options_.buckets);
    const double ranks = ranks_.count, compute = out_.step.sum() - out_.step[Reason::optimiser];
    double work = 0, total = 0;
    size_t first = 0;
    for (const size_t end : ends) {
      double bytes = 0;
      for (; first < end; ++first) bytes += double(sizes[first]);
      work += rates_.seconds("reduce", {bytes}, bytes) * (ranks - 1);
      total += bytes;
    }
    // Every byte crosses twice, in two steps, over links that each pair has of its own.
    const LinkCost link{2 * c_.link_latency, c_.link_mb > 0 ? 2 / ranks / (1e6 * c_.link_mb) : 0};
    const bool spare = machine_.cores > uint32_t(ranks_.count) * options_.threads;
    const LinkCost whole{link.latency, link.seconds_per_byte + (spare ? work / total : 0)};
    const double waits = options_.overlap ? std::max(0.0, bucket_finish(at, sizes, ends, whole) - compute)
                                          : double(ends.size()) * whole.latency + total * whole.seconds_per_byte;
    out_.step[Reason::communication] = waits + (spare ? 0 : work);
  }

  void run_time(const TrainPrice& price) {
    const auto trained = double(out_.trained);
    if (!c_.held_out.empty() && c_.eval_every > 0) {
      const uint32_t at_once = options_.max_rows / c_.length;
      double seconds = 0;
      for (uint32_t left = c_.eval_rows; left > 0; left -= std::min(left, at_once))
        seconds += price.loss_only(times(row_, std::min(left, at_once))).sum();
      out_.evaluation_seconds = seconds * double(c_.held_out.size());  // the other ranks wait
      out_.evaluations = (c_.rates.steps + c_.eval_every - 1) / c_.eval_every + (c_.from.empty() ? 0 : 1);
    }
    // A checkpoint has the weights and their moments; an evaluation that is the best so far writes one as well.
    const double bytes = 4 * trained + double(moments_);
    out_.checkpoint_seconds = rates_.seconds("checkpoint", {bytes}, bytes);
    out_.checkpoints =
        (c_.save_every > 0 ? (c_.rates.steps + c_.save_every - 1) / c_.save_every : 1) + out_.evaluations;
    out_.run_seconds = double(c_.rates.steps) * out_.step_seconds + double(out_.evaluations) * out_.evaluation_seconds +
                       (double(out_.checkpoints) + 1.0 / 3) * out_.checkpoint_seconds;  // and the model
  }

  Status memory(uint64_t before) {
    const TrainStep::Memory& m = memory_;
    out_.disk = ranks_.count * m.moments_file;
    out_.allowed = machine_.memory;
    out_.fits = ranks_.count * m.sum() <= out_.allowed;
    const uint64_t held = ranks_.one_process ? ranks_.count : 1;
    out_.memory = {held * (m.weights + m.rests),
                   held * m.frozen,
                   held * m.moments,
                   held * m.gradients,
                   held * m.arena,
                   checkpoint_copy(c_, m, machine_.memory),
                   0,
                   0};
    if (ranks_.count > 1) {
      const CommProgram program = direct_all_reduce(options_.shares, ranks_.count);
      const size_t sums = whole_nodes(options_.shares, program.ranges[0]).size();
      out_.memory.exchange = held * (program.buffers[0] - sums) * 4 * out_.trained / program.parts;
    }
    const uint64_t now = resident_memory();
    out_.memory.program = now + kRunning + (held - 1) * (now > before ? now - before : 0);
    for (const RecomputeName& level : recompute_levels()) {
      if (out_.fits ? level.level != options_.recompute : level.level < options_.recompute) continue;
      VIBEE_ASSIGN(FittingPart setting,
                   fitting_part(c_, model_->file, model_->config, options_, level, ranks_.count, out_.allowed));
      if (setting.part > 0) out_.settings.push_back(std::move(setting));
    }
    return {};
  }

  const TrainConfig& c_;
  const TrainRanks ranks_;
  const TrainMachine machine_;
  const MachineRates& rates_;
  std::vector<std::unique_ptr<Transport>> ends_;
  std::unique_ptr<CommThread> first_;
  std::optional<Beginning> model_;
  TrainStepOptions options_;
  Graph graph_;
  TrainedRows row_;
  TrainStep::Memory memory_ = {};
  uint64_t moments_ = 0;  ///< bytes of all of a rank, wherever they lie
  TrainForecast out_;
};

}  // namespace

uint32_t threads_of_rank(const TrainConfig& config, const TrainRanks& ranks, uint32_t cores) {
  return config.threads > 0 ? config.threads : std::max(1u, cores / ranks.count);
}
uint32_t threads_at_once(const TrainConfig& config, const TrainRanks& ranks, uint32_t cores) {
  return uint32_t(std::min<uint64_t>(cores, uint64_t(ranks.count) * threads_of_rank(config, ranks, cores)));
}

Result<TrainForecast> forecast_training(const TrainConfig& config, const TrainRanks& ranks, const TrainMachine& machine,
                                        const MachineRates& rates) {
  return Forecaster(config, ranks, machine, rates).run();
}

}  // namespace vibee
