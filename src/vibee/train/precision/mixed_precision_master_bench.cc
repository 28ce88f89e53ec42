// SPDX-License-Identifier: Apache-2.0
#include "vibee/core/technique/context.h"
#include "vibee/hw/device/probe.h"
#include "vibee/kit/trial_precision.h"
#include "vibee/kit/trial_update.h"

namespace vibee {

/// What a small model learns of stories with masters and without, from the same weights and rows; the time of an update
/// beside its bytes.
Status bench_mixed_precision_master(BenchContext& context) {
  const bool quick = context.settings().quick;
  TrialPrecision trial(context.settings());
  VIBEE_TRY(trial.prepare());
  VIBEE_ASSIGN(const TrialPrecision::Learnt f32, trial.learn(Format::f32, Master::f32));
  const std::string size = trial.size();
  context.figure("held-out loss, f32", f32.loss, "nats", 0, size);
  struct Way {
    const char* name;
    Format format;
    Master master;
  };
  for (const Way way :
       {Way{"bf16 with masters", Format::bf16, Master::f32}, Way{"bf16, split", Format::bf16, Master::split},
        Way{"bf16 without masters", Format::bf16, Master::none}}) {
    if (!context.proceed(way.name, 0.5)) return {};
    VIBEE_ASSIGN(const TrialPrecision::Learnt run, trial.learn(way.format, way.master));
    const double ratio = run.loss / f32.loss;
    if (way.master != Master::none) {
      context.target(std::string("loss of f32 over that of ") + way.name, 1 / ratio, "x", 1 / 1.003, size);
    } else {
      context.target(std::string("loss of ") + way.name + " over that of f32", ratio, "x", 1.01, size);
    }
  }
  if (!context.proceed("a step", 0.5)) return {};
  VIBEE_TRY(bench_step("bf16", context.settings().isa == Isa::amx ? 1.5 : 0, context));
  // The update alone, beside what memory gives.
  Team team(context.settings().threads);
  VIBEE_ASSIGN(BandwidthProbe probe, BandwidthProbe::create());
  const double most = probe.gb_per_second(team, context.settings().isa);
  const uint64_t n = uint64_t(quick ? 4 : 32) << 20;
  for (const WeightForm form : {WeightForm::f32, WeightForm::bf16_master, WeightForm::bf16_split, WeightForm::bf16}) {
    VIBEE_ASSIGN(TrialUpdate update, TrialUpdate::create(form, n));
    std::vector<double> seconds;
    for (int i = 0; i < (quick ? 7 : 15); ++i) seconds.push_back(update.run(team, context.settings().isa));
    const double best = *std::min_element(seconds.begin(), seconds.end());
    context.figure(fmt::format("update of {} weights, {}", n, info(form).name), 1e3 * best, "ms");
    context.target(fmt::format("its bytes a second over what is read of memory, {}", info(form).name),
                   update.traffic() / best / 1e9 / most, "", 0.8);
  }
  return {};
}

}  // namespace vibee
