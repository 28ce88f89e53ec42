// SPDX-License-Identifier: Apache-2.0
// v1737: what weights in Microscaling formats gain and cost.
#include "vibee/core/technique/context.h"
#include "vibee/formats/packed/format.h"
#include "vibee/kit/format_trial.h"

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
  return {};
}

}  // namespace vibee
