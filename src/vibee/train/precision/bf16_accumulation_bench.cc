// SPDX-License-Identifier: Apache-2.0
#include "vibee/core/technique/context.h"
#include "vibee/kit/trial_precision.h"
#include "vibee/kit/trial_update.h"

namespace vibee {

/// What a small model learns of stories with bf16 weights that have no masters, by how updates are rounded; the time of
/// an update.
Status bench_bf16_accumulation(BenchContext& context) {
  const bool quick = context.settings().quick;
  TrialPrecision trial(context.settings());
  VIBEE_TRY(trial.prepare());
  const std::string size = trial.size();
  VIBEE_ASSIGN(const TrialPrecision::Learnt master, trial.learn(Format::bf16, Master::f32));
  context.figure("held-out loss, bf16 with masters", master.loss, "nats", 0, size);
  const auto gap = [&](Bf16Sum update) -> Result<double> {
    VIBEE_ASSIGN(const TrialPrecision::Learnt run, trial.learn(Format::bf16, Master::none, update));
    return run.loss / master.loss;
  };
  if (!context.proceed("rne", 0.2)) return {};
  VIBEE_ASSIGN(const double rne, gap(Bf16Sum::nearest));
  if (!context.proceed("sr", 0.4)) return {};
  VIBEE_ASSIGN(const double sr, gap(Bf16Sum::random));
  if (!context.proceed("kahan", 0.6)) return {};
  VIBEE_ASSIGN(const double kahan, gap(Bf16Sum::kahan));
  context.target("loss of rne over that with masters", rne, "x", 1.01, size);
  context.target("loss with masters over that of sr", 1 / sr, "x", 1 / 1.005, size);
  context.target("loss with masters over that of kahan", 1 / kahan, "x", 1 / 1.003, size);

  Team team(context.settings().threads);
  const uint64_t n = uint64_t(quick ? 4 : 32) << 20;
  VIBEE_ASSIGN(TrialUpdate plain, TrialUpdate::create(WeightForm::bf16, n));
  for (const WeightForm form : {WeightForm::bf16_sr, WeightForm::bf16_kahan}) {
    VIBEE_ASSIGN(TrialUpdate update, TrialUpdate::create(form, n));
    std::vector<double> a, b;
    for (int i = 0; i < (quick ? 9 : 21); ++i) {
      a.push_back(plain.run(team, context.settings().isa));
      b.push_back(update.run(team, context.settings().isa));
    }
    const PairedRatio ratio = paired_ratio(a, b);
    const std::string name =
        fmt::format("speed of an update by {} over rne", form == WeightForm::bf16_sr ? "sr" : "kahan");
    const std::string note = fmt::format("{:.3f} to {:.3f} at 95 %, {} weights", ratio.low, ratio.high, n);
    if (form == WeightForm::bf16_sr) {
      context.target(name, ratio.ratio, "x", 1 / 1.15, note);
    } else {
      context.figure(name, ratio.ratio, "x", 0, note);
    }
  }
  return {};
}

}  // namespace vibee
