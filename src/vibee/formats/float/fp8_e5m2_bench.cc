// SPDX-License-Identifier: Apache-2.0
#include "vibee/core/technique/context.h"
#include "vibee/kit/trial_precision.h"

namespace vibee {

/// What a small model learns of stories with products in 8-bit floats, beside bf16.
Status bench_fp8_e5m2(BenchContext& context) {
  TrialPrecision trial(context.settings());
  VIBEE_TRY(trial.prepare());
  VIBEE_ASSIGN(const TrialPrecision::Learnt bf16, trial.learn(Format::bf16, Master::f32));
  context.figure("held-out loss, bf16", bf16.loss, "nats", 0, trial.size());
  for (const char* recipe : {"fp8-hybrid", "fp8-e4m3"}) {
    if (!context.proceed(recipe, 0.5)) return {};
    trial.multiply(recipe);
    VIBEE_ASSIGN(const TrialPrecision::Learnt learnt, trial.learn(Format::bf16, Master::f32));
    context.target(fmt::format("loss of bf16 over that of {}, delayed scales", recipe), bf16.loss / learnt.loss, "x",
                   1 / 1.005, trial.size());
  }
  return {};
}

}  // namespace vibee
