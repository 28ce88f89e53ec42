// SPDX-License-Identifier: Apache-2.0
// vibee train: a model, or an adapter of one, on token stores.
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <thread>

#include "vibee/app/cli/args.h"
#include "vibee/app/cli/cli.h"
#include "vibee/app/cli/model_args.h"
#include "vibee/app/cli/train_comparison.h"
#include "vibee/app/jobs/train.h"
#include "vibee/base/text/json_object.h"
#include "vibee/core/measure/measure.h"
#include "vibee/dist/transport/mpi.h"
#include "vibee/graph/pass/overlap_compute_comm.h"
#include "vibee/model/weight/atomic_file.h"

namespace vibee {
namespace {

std::string duration(double seconds) {
  const auto s = uint64_t(seconds);
  if (s >= 3600) return fmt::format("{} h {:02} min", s / 3600, s / 60 % 60);
  return s >= 60 ? fmt::format("{} min {:02} s", s / 60, s % 60) : fmt::format("{} s", s);
}

/// A line on standard error: over itself on a terminal, else every ten seconds and at the end.
class StepLine {
 public:
  void show(const TrainProgress& p, const std::string& peak_share) {
    const double now = timer_.seconds();
    const bool last = p.step == p.steps;
    if (!last && now - shown_ < (terminal_ ? 0.1 : 10)) return;
    shown_ = now;
    std::fputs(
        fmt::format("{}step {} of {}, loss {:.4f}, {:.0f} tokens/s{}, {} left{}", terminal_ ? "\r\033[K" : "", p.step,
                    p.steps, p.loss, p.tokens_per_second, peak_share, duration(p.seconds_left), terminal_ ? "" : "\n")
            .c_str(),
        stderr);
  }
  void say(const std::string& text) { std::fputs(((terminal_ ? "\r\033[K" : "") + text + "\n").c_str(), stderr); }
  void clear() {
    if (terminal_) std::fputs("\r\033[K", stderr);
  }

 private:
  bool terminal_ = ::isatty(STDERR_FILENO);
  double shown_ = 0;
  Timer timer_;
};

void print(const TrainReport& r, const TrainComparison& comparison, bool json) {
  if (json) {
    JsonObject object;
    object.text("model", r.model)
        .text("adapter", r.adapter)
        .text("checkpoint", r.checkpoint)
        .integer("steps", r.steps)
        .integer("resumed", r.resumed)
        .integer("tokens", r.tokens)
        .number("loss", r.loss)
        .number("best_held_out_loss", r.best)
        .boolean("stopped", r.stopped)
        .number("seconds", r.seconds);
    comparison.add_to(&object);
    std::puts(object.str().c_str());
    return;
  }
  const std::string best = std::isfinite(r.best) ? fmt::format(", held-out loss {:.4f} at best", r.best) : "";
  const std::string what = r.adapter.empty() ? r.model : r.model.empty() ? r.adapter : r.adapter + ", " + r.model;
  if (r.steps == r.resumed) {
    std::puts(
        fmt::format("{}: the run of {} steps was finished; nothing was left to do{}", what, r.steps, best).c_str());
    return;
  }
  std::puts(r.stopped ? fmt::format("stopped behind step {}: {}; go on with --resume", r.steps, r.checkpoint).c_str()
                      : fmt::format("{}: {} steps, {} tokens in {}, loss {:.4f}{}", what, r.steps, r.tokens,
                                    duration(r.seconds), r.loss, best)
                            .c_str());
  if (const std::string line = comparison.line(); !line.empty()) std::puts(line.c_str());
}

/// Of a rank that only computes.
TrainEvents only_interrupted() {
  TrainEvents events;
  events.step = [](const TrainProgress&) { return !interrupted(); };
  return events;
}

Result<TrainReport> run_ranks(const TrainConfig& config, bool resume, const TrainEvents& events, uint32_t emulate,
                              bool job) {
  if (emulate > 0) return train_emulated(config, resume, events, emulate);
  if (!job) return train(config, resume, events);
  VIBEE_ASSIGN(std::unique_ptr<Transport> transport, mpi_transport());
  CommThread ranks(link_of(config, std::move(transport)));
  return train(config, resume, events, &ranks);
}

Status write_step(const std::string& path, const TrainTrace& trace) {
  std::vector<TimeSpan> compute, communicate;
  for (const auto& span : trace.compute) compute.push_back({span.begin, span.end});
  for (const auto& span : trace.communicate) communicate.push_back({span.begin, span.end});
  return write_file(path, overlap_svg(compute, communicate));
}

}  // namespace

int verb_train(int argc, char** argv) {
  std::string path;
  std::vector<std::string> set;
  bool resume = false, json = false, keys = false;
  uint32_t emulate = 0;
  std::string mesh, trace;
  Args args(
      "train",
      "Trains a model on token stores, from nothing or from a model, or an adapter of one (LoRA); what a run is, a "
      "TOML file says. Ctrl-C leaves a checkpoint.");
  args.add("CONFIG", path, "a TOML file; --keys says what may stand in it");
  args.add("--set", set, "KEY=VALUE in the place of the file's, e.g. train.steps=500; may be given several times");
  args.add("--resume", resume, "go on from the last checkpoint of the run's folder");
  args.add("--emulate", emulate, "as many ranks as threads of this process, with the bytes of `vibee launch`; 0: none")
      .between(0, 256);
  args.add("--mesh", mesh, "dp=N: N ranks are asked for, by --emulate or `vibee launch` (the key parallel.mesh)");
  args.add("--trace", trace, "with ranks: write what the last step of rank 0 spent its time with, as an SVG");
  args.add("--keys", keys, "print the keys of the file and what they mean");
  args.add("--json", json, "print an object when done");
  args.example("vibee train train.toml");
  args.example("vibee train train.toml --set train.steps=500 --set optimiser.rate=1e-3");
  args.example("vibee train train.toml --resume");
  args.example("vibee train train.toml --set lora.rank=16 --set lora.merge=true");
  args.example("vibee train train.toml --emulate 2 --trace step.svg");
  args.example("vibee launch -n 2 -- train train.toml");
  args.example("vibee train --keys");
  if (auto exit_status = args.parse(argc, argv)) return *exit_status;
  if (keys) {
    for (const TrainKey& key : train_keys()) std::puts(fmt::format("{:<24} {}", key.name, key.meaning).c_str());
    return kExitOk;
  }
  if (path.empty()) return fail_usage("train", "name a CONFIG.toml");
  if (!mesh.empty()) set.push_back("parallel.mesh=" + mesh);
  auto config = read_train_config(path, set);
  if (!config.ok()) return fail("train", config.status());
  const std::optional<MpiRank> job = mpi_rank();
  if (job && emulate > 0) return fail_usage("train", "--emulate is of one process, this is a rank of several");
  if (job && config->threads == 0)
    config->threads = std::max(1u, std::thread::hardware_concurrency() / job->on_machine);
  const bool first = !job || job->rank == 0;
  catch_interrupt();
  if (job) catch_interrupt(SIGUSR1);  // what `vibee launch` passes on
  TrainComparison comparison;
  // Ranks of a job begin together: there is no time to measure on one of them; other machines are not known.
  const TrainRanks ranks{job ? job->size : std::max(1u, emulate), !job};
  if (first && (!job || job->size == job->on_machine)) comparison.predict(*config, ranks, !job);
  StepLine line;
  TrainEvents events;
  events.begin = [&](const std::string& text) { line.say(text); };
  events.step = [&](const TrainProgress& progress) {
    comparison.step(progress);
    line.show(progress, comparison.peak_share());
    return !interrupted();
  };
  events.evaluated = [&](const TrainEvaluation& e) {
    line.say(fmt::format("step {}: held-out loss {:.4f}, perplexity {:.2f}{}", e.step, e.loss, std::exp(e.loss),
                         e.best ? ", the best so far" : ""));
  };
  events.sampled = [&](const TrainSample& s) {
    line.say(fmt::format("step {}: {}", s.step, json_quote(s.prompt + s.text)));
  };
  events.said = [&](const std::string& text) { line.say(text); };
  Status traced;
  events.traced = [&](const TrainTrace& t) {
    if (!trace.empty()) traced = write_step(trace, t);
  };
  const auto report = run_ranks(*config, resume, first ? events : only_interrupted(), emulate, job.has_value());
  line.clear();
  if (!report.ok()) return fail("train", report.status());
  if (!traced.ok()) return fail("train", traced);
  if (first) print(*report, comparison, json);
  return kExitOk;
}

}  // namespace vibee
