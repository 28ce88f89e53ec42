// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/jobs/bench_model.h"

#include <vector>

#include "vibee/base/random/philox.h"
#include "vibee/base/text/json_object.h"
#include "vibee/core/measure/measure.h"
#include "vibee/graph/cost/cost.h"
#include "vibee/hw/device/probe.h"

namespace vibee {
namespace {

std::vector<int32_t> random_tokens(uint32_t n, uint32_t vocab, uint32_t stream) {
  RandomStream random(1, Purpose::workload, stream);
  std::vector<int32_t> ids(n);
  for (int32_t& id : ids) id = int32_t(random.below(vocab));
  return ids;
}

/// Feeds a prompt in steps of at most max_rows rows; logits of its last row.
Status feed(Session& session, SequenceState* state, std::span<const int32_t> tokens) {
  for (size_t at = 0; at < tokens.size();) {
    const size_t n = std::min<size_t>(session.options().max_rows, tokens.size() - at);
    const StepRows rows{state, tokens.subspan(at, n), at + n == tokens.size() ? 1u : 0u};
    VIBEE_TRY(session.step({&rows, 1}).take_status());
    at += n;
  }
  return {};
}

}  // namespace

std::string machine_of(uint32_t threads) { return fmt::format("{}, {} threads", cpu_name(), threads); }

Result<BenchReport> bench_model(const LoadConfig& load_config, const BenchConfig& c,
                                const std::function<bool(std::string_view, double)>& progress) {
  BenchReport report;
  LoadConfig lc = load_config;
  if (c.generate < 2 || c.prompt < 1 || c.runs < 1)
    return error(Code::invalid, "bench needs --prompt of 1, --tokens of 2 and --runs of 1 or more");
  lc.batch = std::max(lc.batch, c.sequences);
  if (lc.context == 0) lc.context = std::max({c.prompt + c.generate, c.depth + c.generate, 64u});
  VIBEE_ASSIGN(Loaded loaded, load(lc));
  Session& session = *loaded.session;
  const Model& model = *loaded.model;
  const uint32_t vocab = model.config().vocab;
  report.load_seconds = loaded.seconds;
  report.stated_bytes = loaded.plan.total();
  report.bytes_per_token = double(model.bytes_per_token());
  const auto proceed = [&](std::string_view what, double fraction) { return !progress || progress(what, fraction); };
  const auto bandwidth = [&]() -> Result<double> {
    if (!c.probe) return 0.0;
    VIBEE_ASSIGN(BandwidthProbe probe, BandwidthProbe::create());
    return probe.gb_per_second(model.team(), model.isa(), 7);
  };
  std::vector<double> prompt_rates, generate_rates, batch_rates, first;
  const auto prompt = random_tokens(c.prompt, vocab, 0), small = random_tokens(20, vocab, 1),
             behind = random_tokens(c.depth, vocab, 2);
  report.peak_resident = 0;
  for (uint32_t run = 0; run <= c.runs; ++run) {  // run 0 warms up and is not counted
    if (!proceed("timing", double(run) / (c.runs + 1))) return error(Code::cancelled, "interrupted");
    {
      SequenceState s = session.new_sequence();
      const Timer timer;
      VIBEE_TRY(feed(session, &s, small));
      if (run) first.push_back(timer.seconds());
    }
    SequenceState s = session.new_sequence();
    Timer timer;
    VIBEE_TRY(feed(session, &s, prompt));
    if (run) prompt_rates.push_back(double(c.prompt) / timer.seconds());
    s.truncate(0);
    VIBEE_TRY(feed(session, &s, behind));
    int32_t token = prompt[0];
    std::vector<double> steps;
    for (uint32_t i = 0; i < c.generate; ++i) {
      timer.restart();
      const StepRows rows{&s, {&token, 1}, 1};
      VIBEE_ASSIGN(const std::span<float> logits, session.step({&rows, 1}));
      token = int32_t(pointwise(model.isa()).argmax(logits.data(), vocab));
      steps.push_back(timer.seconds());
    }
    double sum = 0;
    for (double step : steps) sum += step;
    if (run) generate_rates.push_back(double(c.generate) / sum);
    if (run == 0) {
      report.peak_resident = peak_resident_memory();  // before the probes take memory of their own
      VIBEE_ASSIGN(report.bandwidth_before, bandwidth());
    }
    if (c.sequences < 2) continue;
    s.truncate(0);
    std::vector<SequenceState> states;
    std::vector<int32_t> tokens(c.sequences);
    for (uint32_t i = 0; i < c.sequences; ++i) {
      states.push_back(session.new_sequence());
      VIBEE_TRY(feed(session, &states[i], behind));
      tokens[i] = prompt[i % prompt.size()];
    }
    const uint32_t rounds = std::max(8u, c.generate / 4);
    timer.restart();
    for (uint32_t i = 0; i < rounds; ++i) {
      std::vector<StepRows> rows;
      for (uint32_t j = 0; j < c.sequences; ++j) rows.push_back({&states[j], {&tokens[j], 1}, 1});
      VIBEE_ASSIGN(const std::span<float> logits, session.step(rows));
      for (uint32_t j = 0; j < c.sequences; ++j)
        tokens[j] = int32_t(pointwise(model.isa()).argmax(logits.data() + size_t(j) * vocab, vocab));
    }
    if (run) batch_rates.push_back(double(rounds) * c.sequences / timer.seconds());
  }
  VIBEE_ASSIGN(report.bandwidth_after, bandwidth());
  if (c.probe) report.int8_gops = compute_peaks(model.team(), model.isa(), 3).int8_gops;
  report.first_token_seconds = median(first);
  report.prompt_rate = median(prompt_rates);
  report.generate_rate = median(generate_rates);
  if (!batch_rates.empty()) report.batch_rate = median(batch_rates);
  const StepCost cost = step_cost(model.graph(), {int64_t(c.prompt), 1}, {c.prompt / 2, session.options().kv});
  report.prompt_gops = cost.flops * report.prompt_rate / c.prompt / 1e9;
  return report;
}

std::string bench_json(const BenchReport& r, const LoadConfig& load, const BenchConfig& c) {
  return JsonObject()
      .text("model", load.model)
      .integer("threads", load.threads)
      .integer("prompt", c.prompt)
      .integer("generate", c.generate)
      .integer("depth", c.depth)
      .integer("sequences", c.sequences)
      .integer("runs", c.runs)
      .number("load_s", r.load_seconds)
      .number("first_token_s", r.first_token_seconds)
      .number("prompt_tokens_per_s", r.prompt_rate)
      .number("generate_tokens_per_s", r.generate_rate)
      .number("batch_tokens_per_s", r.batch_rate)
      .number("bytes_per_token", r.bytes_per_token)
      .number("bandwidth_before_gb_s", r.bandwidth_before)
      .number("bandwidth_after_gb_s", r.bandwidth_after)
      .number("generate_fraction", r.generate_fraction())
      .number("prompt_gops", r.prompt_gops)
      .number("int8_gops", r.int8_gops)
      .number("prompt_fraction", r.prompt_fraction())
      .integer("stated_bytes", r.stated_bytes)
      .integer("peak_resident_bytes", r.peak_resident)
      .str();
}

}  // namespace vibee
