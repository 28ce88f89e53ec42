// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/jobs/train.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <memory>
#include <numeric>
#include <thread>

#include "vibee/app/jobs/convert.h"
#include "vibee/app/jobs/run_folder.h"
#include "vibee/app/jobs/train_history.h"
#include "vibee/app/jobs/train_setup.h"
#include "vibee/base/text/json_object.h"
#include "vibee/base/text/quote.h"
#include "vibee/core/measure/measure.h"
#include "vibee/dist/shard/data_parallel.h"
#include "vibee/dist/transport/local.h"
#include "vibee/dist/transport/shaped.h"
#include "vibee/model/weight/atomic_file.h"
#include "vibee/train/loop/run_saver.h"
#include "vibee/train/loop/saved_bits.h"
#include "vibee/train/loop/trained_model.h"
#include "vibee/train/precision/int8_training.h"

namespace vibee {
namespace {

/// Rows as a step takes them, one behind the other.
class RowBatch {
 public:
  void clear() {
    for (auto* list : {&tokens_, &targets_, &documents_}) list->clear();
    weights_.clear();
  }
  void add(const TrainingRow& row, float weight) {
    const auto first = int32_t(tokens_.size());
    size_t border = 0;
    for (size_t i = 0; i < row.ids.size(); ++i) {
      while (border + 1 < row.borders.size() && row.borders[border + 1] <= i) ++border;
      tokens_.push_back(row.ids[i]);
      targets_.push_back(row.weights[i] > 0 ? row.targets[i] : -1);
      documents_.push_back(first + int32_t(row.borders[border]));
      weights_.push_back(row.weights[i] * weight);
    }
  }
  TrainBatch view() const { return {tokens_, targets_, documents_, weights_}; }

 private:
  std::vector<int32_t> tokens_, targets_, documents_;
  std::vector<float> weights_;
};

double learnt(const TrainingRow& row) { return std::accumulate(row.weights.begin(), row.weights.end(), 0.0); }

/// Seconds between two pages of a run: one is made of all its lines.
constexpr double kPageEvery = 20;

/// Steps that are left out one after another before a run gives up.
constexpr uint32_t kMostLeftOut = 50;

class Run {
 public:
  Run(const TrainConfig& config, const TrainEvents& events, RunFolder folder, CommThread* ranks)
      : c_(config), events_(events), folder_(std::move(folder)), ranks_(ranks) {}

  Result<TrainReport> go(bool resume) {
    VIBEE_TRY(open(resume));
    const Timer timer;
    TrainReport report;
    report.resumed = step_->steps();
    double shown = 0, left = 0;
    // What a model that is there gains is seen from where it began.
    if (first() && !c_.from.empty() && report.resumed == 0 && evaluates()) VIBEE_TRY(evaluate());
    while (step_->steps() < c_.rates.steps && !report.stopped) {
      VIBEE_ASSIGN(const TrainUpdate update, step());
      report.loss = update.loss;
      const uint64_t done = step_->steps();
      const double seconds = timer.seconds();
      left = seconds / double(done - report.resumed) * double(c_.rates.steps - done);
      const double speed = double(c_.batch) * c_.length / std::max(seconds - shown, 1e-9);
      shown = seconds;
      const TrainProgress progress{done,
                                   c_.rates.steps,
                                   update.loss,
                                   update.norm,
                                   rate_at(c_.rates, done),
                                   speed,
                                   left,
                                   done * c_.batch * c_.length};
      VIBEE_TRY(log(JsonObject()
                        .integer("step", done)
                        .number("loss", update.loss)
                        .number("norm", update.norm)
                        .number("rate", progress.rate)
                        .number("loss_scale", update.loss_scale)
                        .integer("tokens", progress.tokens)
                        .number("tokens_per_second", speed)
                        .str()));
      VIBEE_ASSIGN(const bool stop, any(!events_.step(progress)));
      report.stopped = stop && done < c_.rates.steps;
      const bool last = done == c_.rates.steps;
      if (first() && evaluates() && (done % c_.eval_every == 0 || last)) {
        VIBEE_TRY(evaluate());
      }
      if (first() && c_.sample_every > 0 && (done % c_.sample_every == 0 || last)) VIBEE_TRY(sample());
      if (first() && (last || report.stopped || (c_.save_every > 0 && done % c_.save_every == 0))) {
        report.checkpoint = folder_.checkpoint(done);
        VIBEE_TRY(save(report.checkpoint));
        if (last || report.stopped || timer.seconds() >= page_due_) {
          VIBEE_TRY(show());
          page_due_ = timer.seconds() + kPageEvery;
        }
      }
      shown = timer.seconds();
    }
    if (first()) VIBEE_TRY(saver_->wait());
    if (ranks_ != nullptr && first()) events_.traced(step_->trace());
    if (!report.stopped && first()) VIBEE_TRY(write(&report));
    VIBEE_ASSIGN([[maybe_unused]] const bool all_here, any(false));  // nobody leaves while rank 0 writes
    report.steps = step_->steps();
    report.tokens = (report.steps - report.resumed) * c_.batch * c_.length;
    report.best = best_;
    report.seconds = timer.seconds();
    return report;
  }

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };

  Status write(TrainReport* report) {
    if (c_.lora.rank == 0) {
      report->model = folder_.model();
      return write_trained(report->model, model_->file, model_->metadata, *step_);
    }
    report->adapter = folder_.adapter();
    VIBEE_TRY(write_adapter(report->adapter, architecture_, *step_));
    if (!c_.merge) return {};
    report->model = folder_.model();
    ConvertConfig merge;
    merge.source = c_.from, merge.target = report->model, merge.format = "f32", merge.loras = {report->adapter};
    return convert(merge, [](uint64_t, uint64_t) { return true; }).take_status();
  }

  /// Texts of the model as it is; what keeps it from writing some does not end the run.
  Status sample() {
    const std::string path = folder_.sampled();
    const bool whole = c_.lora.rank == 0;
    Status written = whole ? write_trained(path, model_->file, model_->metadata, *step_)
                           : write_adapter(path, architecture_, *step_);
    auto texts = !written.ok() ? Result<std::vector<std::string>>(std::move(written))
                 : whole       ? sample_texts(path, "", c_.samples)
                               : sample_texts(c_.from, path, c_.samples);
    std::error_code ignored;
    std::filesystem::remove(path, ignored);
    if (!texts.ok()) {
      events_.said(fmt::format("step {}: no samples: {}", step_->steps(), texts.status().message()));
      return {};
    }
    for (size_t i = 0; i < texts->size(); ++i) {
      const TrainSample sample{step_->steps(), c_.samples.prompts[i], (*texts)[i]};
      VIBEE_TRY(log(
          JsonObject().integer("step", sample.step).text("prompt", sample.prompt).text("sample", sample.text).str()));
      events_.sampled(sample);
    }
    return {};
  }

  /// The run as a page.
  Status show() {
    VIBEE_ASSIGN(const TrainHistory history, read_history(folder_.metrics()));
    return write_file(folder_.page(), train_html(c_.out, facts_, history));
  }

  bool first() const { return ranks_ == nullptr || ranks_->rank() == 0; }
  uint32_t ranks() const { return ranks_ == nullptr ? 1 : ranks_->size(); }
  Result<bool> any(bool mine) { return ranks_ == nullptr ? Result<bool>(mine) : any_rank(*ranks_, mine); }

  Status open(bool resume) {
    const std::vector<uint64_t> there = folder_.checkpoints();
    if (resume && there.empty()) return error(Code::not_found, "{}: no checkpoint to go on from", quote(c_.out, 400));
    if (first() && !resume && !there.empty())
      return error(Code::invalid, "{}: a run is there already, at step {}; go on with --resume, or name another folder",
                   quote(c_.out, 400), there.back());
    VIBEE_ASSIGN(Beginning model, begin_model(c_));
    model_ = std::make_unique<Beginning>(std::move(model));
    const ModelConfig& config = model_->config;
    architecture_ = config.architecture;
    VIBEE_ASSIGN(stores_, open_stores(c_.stores, *model_, config.vocab, c_.length));
    VIBEE_ASSIGN(held_out_, open_stores(c_.held_out, *model_, config.vocab, c_.length));
    VIBEE_ASSIGN(RowSampler sampler, make_sampler(c_, stores_));
    sampler_ = std::make_unique<RowSampler>(std::move(sampler));
    VIBEE_ASSIGN(TrainStepOptions options, step_options(c_, ranks()));
    options.ranks = ranks_;
    shares_ = options.shares;
    VIBEE_TRY(choose_recompute(c_, model_->file, config, &options));
    VIBEE_TRY(choose_bits(&options));
    VIBEE_TRY(choose_products(&options));
    VIBEE_ASSIGN(const TrainStep::Memory memory, TrainStep::memory(model_->file, config, options));
    saver_ = std::make_unique<RunSaver>(checkpoint_copy(c_, memory, allowed_memory(c_)) > 0);
    VIBEE_ASSIGN(step_, TrainStep::create(model_->file, config, options));
    if (resume) {
      VIBEE_ASSIGN(const RunState state, load_run(folder_.checkpoint(there.back()), step_.get()));
      VIBEE_TRY(sampler_->restore(state.sampler));
      best_ = state.best;
    }
    VIBEE_TRY(began_alike());
    if (!first()) return {};
    metrics_.reset(std::fopen(folder_.metrics().c_str(), resume ? "ab" : "wb"));
    if (metrics_ == nullptr) return error(Code::io, "{}: cannot be written", quote(folder_.metrics(), 400));
    uint64_t trained = 0, frozen = 0, tokens = 0;
    for (const TrainStep::Weight& w : step_->weights()) (w.trained ? trained : frozen) += w.count;
    for (const TokenStore& store : stores_) tokens += store.tokens();
    const std::string what = c_.lora.rank > 0 ? fmt::format("an adapter of {} parameters to {}", trained, frozen)
                                              : fmt::format("{} parameters", trained + frozen);
    std::string text =
        fmt::format("{} ({}), {} tokens of data, {} tokens a step, {} MiB, {} threads", what, architecture_, tokens,
                    uint64_t(c_.batch) * c_.length, memory.sum() >> 20, options.threads);
    if (ranks_ != nullptr) text += fmt::format(", each of {} ranks; {} shares a step", ranks(), shares_);
    if (c_.precision.weights != Format::f32)
      text += fmt::format(", matrices in {}, masters: {}", c_.compute, c_.master.empty() ? "f32" : c_.master);
    if (c_.products != "f32")
      text +=
          fmt::format(", products: {}{}", c_.products, is_emulated(*c_.precision.products) ? " (emulated)" : "");
    if (c_.qat != "none") text += fmt::format(", learnt for {}", c_.qat);
    if (c_.saved_average > 0) {
      text += ", saved values";
      for (const int b : {1, 2, 4, 8})
        text += fmt::format("{} {} in {} bits", b == 1 ? "" : ",",
                            std::count(options.saved.each.begin(), options.saved.each.end(), b), b);
    }
    if (c_.precision.narrow_moments) text += ", moments in 8 bits";
    if (memory.moments_file > 0)
      text += fmt::format(", {:.1f} MiB of moments on the disk, {:.1f} of them in memory",
                          double(memory.moments_file) / (1 << 20), double(memory.moments) / (1 << 20));
    if (const LossScaling& scale = c_.precision.loss_scale; scale.kind == LossScaling::Kind::fixed) {
      int exponent = 0;
      if (std::frexp(scale.scale, &exponent) != 0.5)
        text += fmt::format(", loss scale {} (no power of two: gradients are rounded by it)", scale.scale);
    }
    if (options.products != nullptr) text += fmt::format("; {}", products_.summary());
    facts_ = text;
    events_.begin(text);
    if (const Status& trouble = products_.record_trouble(); !trouble.ok())
      events_.said(fmt::format("what was measured is not kept: {}", trouble.message()));
    return {};
  }

  /// Bits of saved values by the first rows of the run; all ranks, and a run that goes on, find the same.
  Status choose_bits(TrainStepOptions* options) {
    if (c_.saved_average == 0) return {};
    const uint32_t some = std::min(c_.part, 4u);
    rows_.resize(some);
    double targets = 0;
    for (uint32_t i = 0; i < some; ++i) {
      const Sample sample = sampler_->at(i);
      VIBEE_TRY(read_row(stores_[sample.source], sample.row, c_.length, &rows_[i]));
      targets += learnt(rows_[i]);
    }
    batch_.clear();
    for (const TrainingRow& row : rows_) batch_.add(row, float(1 / std::max(1.0, targets)));
    VIBEE_ASSIGN(options->saved,
                 choose_saved_bits(model_->file, model_->config, *options, batch_.view(), c_.saved_average));
    return {};
  }

  /// Rank 0 measures what is not known, the others read what it wrote.
  Status choose_products(TrainStepOptions* options) {
    const auto choose = [&] { return vibee::choose_products(c_, model_->file, model_->config, &products_, options); };
    if (first()) VIBEE_TRY(choose());
    if (c_.gemm_policy == GemmPolicy::native) return {};
    VIBEE_ASSIGN([[maybe_unused]] const bool all_here, any(false));
    return first() ? Status() : choose();
  }

  Status began_alike() {
    if (ranks_ == nullptr) return {};
    constexpr uint64_t kSlice = uint64_t(64) << 20;
    std::string said = fmt::format("{} {} {} {} {} {} {} {} {}", sampler_->state(), c_.length, c_.batch, c_.part,
                                   shares_, c_.rates.steps, c_.rates.rate, c_.clip, c_.optimiser.decay);
    said += fmt::format(" {} {} {} {} {} {}", c_.products, c_.rule, c_.optimiser.momentum, c_.optimiser.nesterov,
                        c_.moments, c_.precision.moment_block);
    for (const TokenStore& store : stores_) said += fmt::format(" {}", store.tokens());
    const SipHash hash(1, 2);
    VIBEE_TRY(same_on_all_ranks(*ranks_, hash({reinterpret_cast<const uint8_t*>(said.data()), said.size()}),
                                "the configuration or the data"));
    std::vector<uint8_t> room;
    for (const StatePart& part : step_->state())
      for (uint64_t at = 0; at < part.size(); at += kSlice) {
        VIBEE_ASSIGN(const auto bytes, part.slice(at, std::min(kSlice, part.size() - at), &room));
        VIBEE_TRY(same_on_all_ranks(*ranks_, hash(bytes), "the weights or their moments"));
      }
    return {};
  }

  /// Until a step is made: one that is left out takes its rows, and the next ones are tried.
  Result<TrainUpdate> step() {
    for (uint32_t left_out = 0;;) {
      VIBEE_ASSIGN(const TrainUpdate update, attempt());
      if (!update.skipped()) return update;
      std::string why;
      if (update.outcome == Outcome::overflow) {
        why = fmt::format("gradients overflow at loss scale {}; the next one is {}", update.loss_scale,
                          step_->loss_scale());
      } else {
        Status told = explained(update);
        if (c_.bad_step == "stop")
          return error(told.code(), "{}; no weight was changed (train.bad_step = \"skip\" goes on with the next rows)",
                       told.message());
        if (++left_out == kMostLeftOut)
          return error(told.code(), "{}; {} steps one after another were left out", told.message(), left_out);
        why = told.message();
        events_.said(why + "; it is left out");
      }
      VIBEE_TRY(log(JsonObject().integer("step", step_->steps() + 1).text("skipped", why).str()));
    }
  }

  Result<TrainUpdate> attempt() {
    rows_.resize(c_.batch);
    double targets = 0;
    for (uint32_t i = 0; i < c_.batch; ++i) {
      const Sample sample = sampler_->at(sampler_->next() + i);
      VIBEE_TRY(read_row(stores_[sample.source], sample.row, c_.length, &rows_[i]));
      targets += learnt(rows_[i]);
    }
    weight_ = float(1 / std::max(1.0, targets));
    step_->set_rate(rate_at(c_.rates, step_->steps() + 1));
    for (uint32_t s = step_->shares().first; s < step_->shares().end; ++s) {
      const Range rows = share(c_.batch, s, shares_);
      for (uint32_t part = rows.begin; part < rows.end; part += c_.part) {
        batch_.clear();
        const uint32_t end = std::min(rows.end, part + c_.part);
        for (uint32_t i = part; i < end; ++i) batch_.add(rows_[i], weight_);
        VIBEE_TRY(step_->add(batch_.view(), end == rows.end));
      }
    }
    VIBEE_ASSIGN(const TrainUpdate update, step_->update());
    sampler_->advance(c_.batch);
    return update;
  }

  /// Why a step is left out; where the first number that is not finite comes from is found by computing it once more.
  Status explained(const TrainUpdate& update) {
    Status why = step_->why(update);
    if (update.outcome != Outcome::not_finite) return why;
    const uint32_t most = step_->options().max_rows / c_.length;  // rows at once
    for (uint32_t first = 0; first < c_.batch; first += most) {
      batch_.clear();
      for (uint32_t i = first; i < std::min(c_.batch, first + most); ++i) batch_.add(rows_[i], weight_);
      VIBEE_ASSIGN(const std::optional<std::string> found, step_->first_not_finite(batch_.view()));
      if (found) return error(why.code(), "{}; the first number that is not: {}", why.message(), *found);
    }
    return why;
  }

  bool evaluates() const { return !held_out_.empty() && c_.eval_every > 0; }

  /// The first rows of every held-out store; all of a run see the same.
  Status evaluate() {
    double loss = 0, targets = 0;
    const uint32_t most = step_->options().max_rows / c_.length;  // rows at once
    rows_.resize(most);
    for (const TokenStore& store : held_out_) {
      const uint64_t rows = std::min<uint64_t>(c_.eval_rows, rows_of(store.tokens(), c_.length));
      for (uint64_t first = 0; first < rows; first += most) {
        const auto some = uint32_t(std::min<uint64_t>(most, rows - first));
        double count = 0;
        for (uint32_t i = 0; i < some; ++i) {
          VIBEE_TRY(read_row(store, first + i, c_.length, &rows_[i]));
          count += learnt(rows_[i]);
        }
        if (count == 0) continue;
        batch_.clear();
        for (uint32_t i = 0; i < some; ++i) batch_.add(rows_[i], float(1 / count));
        VIBEE_ASSIGN(const float mean, step_->evaluate(batch_.view()));
        loss += double(mean) * count;
        targets += count;
      }
    }
    if (targets == 0) return error(Code::invalid, "the held-out rows have nothing to be learnt; take other stores");
    const TrainEvaluation evaluation{step_->steps(), loss / targets, loss / targets < best_};
    VIBEE_TRY(log(JsonObject().integer("step", evaluation.step).number("held_out_loss", evaluation.loss).str()));
    events_.evaluated(evaluation);
    if (!evaluation.best) return {};
    best_ = evaluation.loss;
    return save(folder_.best());
  }

  Status save(const std::string& path) {
    return saver_->save(path, *step_, {step_->steps(), best_, sampler_->state()}, [this] { folder_.prune(c_.keep); });
  }

  Status log(const std::string& line) {
    if (!first()) return {};
    if (std::fputs((line + "\n").c_str(), metrics_.get()) < 0 || std::fflush(metrics_.get()) != 0)
      return error(Code::io, "{}: cannot be written", quote(folder_.metrics(), 400));
    return {};
  }

  const TrainConfig& c_;
  const TrainEvents& events_;
  RunFolder folder_;
  CommThread* ranks_;
  uint32_t shares_ = 1;
  std::unique_ptr<Beginning> model_;
  std::string architecture_, facts_;
  std::vector<TokenStore> stores_, held_out_;
  std::unique_ptr<RowSampler> sampler_;
  GemmChoice products_;  ///< outlives the step
  std::unique_ptr<TrainStep> step_;
  std::unique_ptr<RunSaver> saver_;
  std::unique_ptr<std::FILE, Close> metrics_;
  std::vector<TrainingRow> rows_;
  RowBatch batch_;
  float weight_ = 0;  ///< of a token that is learnt
  double page_due_ = 0;
  double best_ = std::numeric_limits<double>::infinity();
};

}  // namespace

Result<TrainReport> train(const TrainConfig& config, bool resume, const TrainEvents& events, CommThread* ranks) {
  auto folder = RunFolder::open(config.out);
  if (!folder.ok()) {
    if (ranks != nullptr) ranks->abort(folder.status().message());
    return folder.take_status();
  }
  Run run(config, events, std::move(*folder), ranks);
  auto report = run.go(resume);
  // While the run is there, whose memory the ranks read.
  if (!report.ok() && ranks != nullptr) ranks->abort(report.status().message());
  return report;
}

Result<TrainReport> train_emulated(const TrainConfig& config, bool resume, const TrainEvents& events, uint32_t ranks) {
  TrainConfig each = config;
  if (each.threads == 0) each.threads = std::max(1u, std::thread::hardware_concurrency() / ranks);
  auto ends = local_network(ranks);
  std::vector<Result<TrainReport>> reports(ranks, Status());
  std::vector<std::thread> threads;
  const TrainEvents silent;
  for (uint32_t r = 0; r < ranks; ++r)
    threads.emplace_back([&, r] {
      CommThread comm(link_of(each, std::move(ends[r])));
      reports[r] = train(each, resume, r == 0 ? events : silent, &comm);
    });
  for (std::thread& thread : threads) thread.join();
  return std::move(reports[0]);
}

std::unique_ptr<Transport> link_of(const TrainConfig& config, std::unique_ptr<Transport> transport) {
  if (config.link_latency == 0 && config.link_mb == 0) return transport;
  return shaped(std::move(transport), {config.link_latency, 1e6 * config.link_mb});
}

}  // namespace vibee
