// SPDX-License-Identifier: Apache-2.0
// v1737: what weights in Microscaling formats gain and cost.
#include "vibee/core/technique/context.h"
#include "vibee/formats/packed/format.h"
#include "vibee/kit/format_trial.h"
#include "vibee/kit/trial_precision.h"

namespace vibee {

Status bench_microscaling(BenchContext& context) {
  VIBEE_ASSIGN(const FormatTrial trial, FormatTrial::make(context.settings(), true));
  const uint32_t pairs = context.settings().quick ? 7 : 21;
  VIBEE_ASSIGN(const PairedRatio six, trial.speed_of("mxfp6", "mxfp8", pairs));
  context.target("generation, mxfp6 over mxfp8", six.ratio, "x", 1.25,
                 fmt::format("{:.2f} to {:.2f}", six.low, six.high));
  for (const char* name : {"mxfp8", "mxfp4"}) {
    VIBEE_ASSIGN(const PairedRatio speed, trial.speed_of(name, "bf16", pairs));
    context.figure(fmt::format("generation, {} over bf16", name), speed.ratio, "x", 0,
                   fmt::format("{:.2f} to {:.2f}", speed.low, speed.high));
  }
  for (const char* name : {"mxfp8", "mxfp6", "mxfp6e3m2", "mxfp4"}) {
    VIBEE_ASSIGN(const double kl, trial.kl_of(name));
    context.figure(fmt::format("KL divergence of {} weights", name), kl, "nats");
  }
  if (!context.proceed("training", 0.5)) return {};
  TrialPrecision training(context.settings());
  VIBEE_TRY(training.prepare());
  VIBEE_ASSIGN(const TrialPrecision::Learnt bf16, training.learn(Format::bf16, Master::f32));
  training.multiply("mxfp8");
  VIBEE_ASSIGN(const TrialPrecision::Learnt learnt, training.learn(Format::bf16, Master::f32));
  context.target("held-out loss of bf16 over that of products in mxfp8 (emulated)", bf16.loss / learnt.loss, "x",
                 1 / 1.003, training.size());
  return {};
}

}  // namespace vibee
