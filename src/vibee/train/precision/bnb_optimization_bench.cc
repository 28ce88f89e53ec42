// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "vibee/core/technique/context.h"
#include "vibee/hw/device/probe.h"
#include "vibee/kit/format_trial.h"
#include "vibee/kit/inject_outliers.h"
#include "vibee/kit/temp_folder.h"
#include "vibee/kit/trial_training.h"
#include "vibee/kit/trial_update.h"
#include "vibee/model/eval/quality.h"
#include "vibee/model/weight/builtin_model.h"

namespace vibee {
namespace {

/// Steps of a model, and what the process held at its highest meanwhile beside what it held before.
struct Held {
  double bytes = 0;
  std::vector<double> seconds, updates;
};
Result<Held> hold(const TrialTraining& trial) {
  reset_peak_resident_memory();
  const uint64_t before = resident_memory();
  VIBEE_ASSIGN(const TrialTraining::Run run, trial.run(0));
  return Held{double(peak_resident_memory()) - double(before), run.seconds, run.updates};
}
/// What a model learns of stories, over seeds.
Result<double> learnt(TrialTraining trial, bool narrow, uint64_t seed, uint32_t seeds) {
  double loss = 0;
  for (uint32_t i = 0; i < seeds; ++i) {
    trial.model.seed = trial.options.precision.seed = seed + i;
    trial.options.precision.narrow_moments = narrow;
    VIBEE_ASSIGN(const TrialTraining::Run run, trial.run(0));
    loss += run.held_out / seeds;
  }
  return loss;
}

/// A trial's model in q8_0, every `each`-th channel behind norms 64 times as large.
Result<FormatTrial::Run> with_outliers(const FormatTrial& trial, uint32_t each, bool float_rows, float threshold) {
  VIBEE_ASSIGN(Checkpoint floats, trial.open({"f32"}));
  VIBEE_ASSIGN(const ModelConfig config, read_config(floats));
  VIBEE_ASSIGN(Checkpoint other, recast_checkpoint(std::move(floats), {}, inject_outliers(config, each, 64)));
  VIBEE_ASSIGN(other, recast_checkpoint(std::move(other), all_in(Format::q8_0)));
  return trial.load_file(std::move(other), float_rows, KvFormat::f16, threshold);
}

/// LLM.int8(): the time of prompts beside rows of floats and plain rows of 8 bits, and what rows of 8 bits cost the
/// perplexity of stories.
Status bench_llm_int8(BenchContext& context) {
  const RunSettings& settings = context.settings();
  constexpr float kThreshold = 6;
  VIBEE_ASSIGN(const FormatTrial wide, FormatTrial::make(settings, true));
  const uint32_t pairs = settings.quick ? 7 : 15, each = 256;  // the paper finds 0.1 % of a large model's channels
  VIBEE_ASSIGN(FormatTrial::Run floats, with_outliers(wide, each, true, 0));
  VIBEE_ASSIGN(FormatTrial::Run plain, with_outliers(wide, each, false, 0));
  VIBEE_ASSIGN(FormatTrial::Run apart, with_outliers(wide, each, false, kThreshold));
  VIBEE_ASSIGN(const PairedRatio over_floats, FormatTrial::speed_of(apart, floats, pairs, true));
  context.target(
      "reading a prompt, llm_int8 over rows of floats", over_floats.ratio, "x", 1.4,
      fmt::format("{:.2f} to {:.2f}; q8_0, a channel in {} is large", over_floats.low, over_floats.high, each));
  VIBEE_ASSIGN(const PairedRatio over_plain, FormatTrial::speed_of(apart, plain, pairs, true));
  context.figure("share of a prompt's time that outliers cost", 1 - over_plain.ratio, "", 0,
                 fmt::format("{:.2f} to {:.2f}", 1 - over_plain.high, 1 - over_plain.low));

  RunSettings told = settings;
  if (told.model.empty()) told.model = kBuiltinPath;
  VIBEE_ASSIGN(const FormatTrial trial, FormatTrial::make(told, false));
  VIBEE_ASSIGN(const std::unique_ptr<Model> reader,
               Model::load(trial.path(), {settings.threads, settings.isa, {}, true}));
  TrialTraining stories;
  VIBEE_TRY(stories.tell_stories(settings.quick ? 30'000 : 200'000));
  std::vector<int32_t> tokens;
  VIBEE_TRY(reader->tokenizer().encode(stories.text, false, &tokens));
  VIBEE_ASSIGN(FormatTrial::Run base, with_outliers(trial, 32, true, 0));
  constexpr uint32_t kWindow = 64;
  for (const float threshold : {0.0f, kThreshold}) {
    VIBEE_ASSIGN(FormatTrial::Run other, with_outliers(trial, 32, false, threshold));
    VIBEE_ASSIGN(const QualityReport q,
                 measure_quality(*other.session, base.session.get(), tokens, kWindow, reader->tokenizer().bos(), 0,
                                 [](uint32_t, uint32_t, const QualityReport&) { return true; }));
    const double change = 100 * std::fabs(std::expm1(q.log_ratio));
    const std::string how = fmt::format("{:.3f} of {:.3f}, {} positions, a channel in 32 is large, KL {:.2g}",
                                        q.perplexity, q.base_perplexity, q.scored, q.kl);
    if (threshold == 0)
      context.figure("change of perplexity by plain rows of 8 bits", change, "%", 0, how);
    else
      context.target("0.2 % over the change of perplexity by llm_int8", 0.2 / std::max(change, 1e-9), "x", 1, how);
  }
  return {};
}

}  // namespace

/// Bytes of moments as the process has them, the loss of small models, and the time of a step and of its update alone.
Status bench_bnb_optimization(BenchContext& context) {
  const RunSettings& settings = context.settings();
  const bool quick = settings.quick;
  TrialTraining model;
  model.options.isa = settings.isa;
  model.options.threads = settings.threads;
  model.model.vocab = 256;
  model.model.dim = quick ? 256 : 384;
  model.model.heads = 6 - 2 * quick;
  model.model.layers = quick ? 4 : 12;
  model.rows = 8;
  model.length = 128;
  model.steps = quick ? 5 : 7;
  model.keep_state = false;  // which would take memory
  VIBEE_ASSIGN(const TrainStep::Memory whole, model.memory());
  const double parameters = double(whole.weights) / 4;
  const std::string size =
      fmt::format("{:.1f} M parameters, {} rows of {}", parameters / 1e6, model.rows, model.length);
  // Gradient descent without a momentum has no moments: what it does not hold is theirs.
  TrialTraining none = model, narrow = model, paged = model;
  none.options.optimiser.rule = RuleId::sgd, none.options.optimiser.momentum = 0;
  narrow.options.precision.narrow_moments = paged.options.precision.narrow_moments = true;
  const TempFolder folder;
  paged.options.paged = {whole.moments / 16, folder.path()};
  VIBEE_TRY(none.run(0).take_status());  // what the heap keeps is the same for all from here on
  VIBEE_ASSIGN(const Held without, hold(none));
  VIBEE_ASSIGN(const Held f32, hold(model));
  VIBEE_ASSIGN(const Held eight, hold(narrow));
  context.figure("state of AdamW in f32", (f32.bytes - without.bytes) / parameters, "B/parameter", 8,
                 size + "; from the process's high-water marks");
  context.target("state of AdamW in f32 over that in 8 bits",
                 (f32.bytes - without.bytes) / (eight.bytes - without.bytes), "x", 0.9 * 8 / 2.03,
                 size + "; the embedding stays in f32");
  context.figure("state of AdamW in 8 bits", (eight.bytes - without.bytes) / parameters, "B/parameter", 2.03);
  VIBEE_ASSIGN(const Held in_window, hold(paged));
  context.figure("state of AdamW in 8 bits, paged", (in_window.bytes - without.bytes) / parameters, "B/parameter");
  if (!context.proceed("steps", 0.3)) return {};

  std::vector<double> of_f32 = f32.seconds, of_eight = eight.seconds, of_paged = in_window.seconds;
  for (int i = 0; i < (quick ? 2 : 4); ++i) {  // interleaved, so that a busy minute counts for both
    for (auto [trial, seconds] :
         {std::pair{&model, &of_f32}, std::pair{&narrow, &of_eight}, std::pair{&paged, &of_paged}}) {
      VIBEE_ASSIGN(const TrialTraining::Run run, trial->run(0));
      seconds->insert(seconds->end(), run.seconds.begin() + 1, run.seconds.end());
    }
  }
  context.figure("step with moments in f32", 1e3 * median(of_f32), "ms", 0, size);
  context.target("step in f32 over that in 8 bits", median(of_f32) / median(of_eight), "x", 1 / 1.05);
  context.figure("step in f32 over that in 8 bits, paged", median(of_f32) / median(of_paged), "x");
  if (!context.proceed("updates", 0.5)) return {};

  Team team(settings.threads);
  VIBEE_ASSIGN(BandwidthProbe probe, BandwidthProbe::create());
  const double most = probe.gb_per_second(team, settings.isa);
  const uint64_t n = uint64_t(quick ? 4 : 32) << 20;
  double of_floats = 0;
  for (const bool in_8_bits : {false, true}) {
    VIBEE_ASSIGN(TrialUpdate update, TrialUpdate::create(WeightForm::f32, n, in_8_bits));
    double best = update.run(team, settings.isa);
    for (int i = 0; i < (quick ? 7 : 15); ++i) best = std::min(best, update.run(team, settings.isa));
    const std::string name = in_8_bits ? "8 bits" : "f32";
    context.figure(fmt::format("update of {} weights, moments in {}", n, name), 1e3 * best, "ms");
    context.target("its bytes a second over what is read of memory, " + name, update.traffic() / best / 1e9 / most, "",
                   0.7);
    if (in_8_bits) context.figure("update in f32 over that in 8 bits", of_floats / best, "x");
    of_floats = best;
  }
  if (!context.proceed("training", 0.6)) return {};

  TrialTraining stories;
  stories.options.isa = settings.isa;
  stories.options.clip = 1;
  stories.model.dim = 64;
  stories.rows = 8;
  stories.length = 64;
  stories.held_out = quick ? 64 : 256;
  stories.steps = quick ? 200 : 2000;
  Schedule rates;
  rates.steps = stories.steps, rates.warmup = stories.steps / 20, rates.rate = 2e-3, rates.final_rate = 1e-5;
  stories.rates = rates;
  VIBEE_TRY(stories.tell_stories(1 << 20));
  constexpr uint32_t seeds = 3;  // of one the losses differ by 1 % by chance
  VIBEE_ASSIGN(const double loss, learnt(stories, false, settings.seed, seeds));
  VIBEE_ASSIGN(const double loss_8, learnt(stories, true, settings.seed, seeds));
  const std::string told = fmt::format("width 64, 2 layers, {} steps of {} tokens, mean of {} seeds", stories.steps,
                                       stories.rows * stories.length, seeds);
  context.figure("held-out loss, moments in f32", loss, "nats", 0, told);
  context.target("loss of f32 over that of 8 bits", loss / loss_8, "x", 1 / 1.003, told);
  if (!context.proceed("LLM.int8()", 0.8)) return {};
  return bench_llm_int8(context);
}

}  // namespace vibee
