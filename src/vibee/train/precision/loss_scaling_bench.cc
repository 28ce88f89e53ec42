// SPDX-License-Identifier: Apache-2.0
#include "vibee/core/technique/context.h"
#include "vibee/kit/trial_precision.h"

namespace vibee {

/// What a small model learns of stories in f16 with a dynamic scale and without, and what scaling costs a step.
Status bench_loss_scaling(BenchContext& context) {
  TrialPrecision trial(context.settings());
  VIBEE_TRY(trial.prepare());
  const std::string size = trial.size();
  VIBEE_ASSIGN(const TrialPrecision::Learnt f32, trial.learn(Format::f32, Master::f32));
  if (!context.proceed("f16", 0.3)) return {};
  const auto dynamic = LossScaling::Kind::dynamic, none = LossScaling::Kind::none;
  VIBEE_ASSIGN(const TrialPrecision::Learnt scaled, trial.learn(Format::f16, Master::f32, Bf16Sum::nearest, dynamic));
  VIBEE_ASSIGN(const TrialPrecision::Learnt plain, trial.learn(Format::f16, Master::f32, Bf16Sum::nearest, none));
  context.figure("held-out loss, f32", f32.loss, "nats", 0, size);
  context.target("loss of f32 over that of f16 with a dynamic scale", f32.loss / scaled.loss, "x", 1 / 1.005, size);
  context.figure("loss of f16 without a scale over that of f32", plain.loss / f32.loss, "x", 0, size);
  context.figure("steps skipped", scaled.skipped, "");
  // The same step with a scale and without, in turn.
  std::vector<double> with, without;
  trial.set_steps(context.settings().quick ? 20 : 60);
  for (int round = 0; round < (context.settings().quick ? 3 : 9); ++round) {
    if (!context.proceed("timing", 0.7)) return {};
    VIBEE_ASSIGN(const TrialTraining::Run a, trial.run(Format::f32, Master::f32));
    VIBEE_ASSIGN(const TrialTraining::Run b, trial.run(Format::f32, Master::f32, Bf16Sum::nearest, dynamic));
    without.insert(without.end(), a.seconds.begin(), a.seconds.end());
    with.insert(with.end(), b.seconds.begin(), b.seconds.end());
  }
  const PairedRatio ratio = paired_ratio(without, with);
  context.target("speed of a step with a scale over one without", ratio.ratio, "x", 0.995,
                 fmt::format("{:.3f} to {:.3f} at 95 %", ratio.low, ratio.high));
  return {};
}

}  // namespace vibee
