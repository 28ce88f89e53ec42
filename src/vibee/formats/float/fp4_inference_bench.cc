// SPDX-License-Identifier: Apache-2.0
// v1739: what weights in NVFP4 gain and cost beside MXFP4 and q4_0.
#include "vibee/core/technique/context.h"
#include "vibee/kit/format_trial.h"

namespace vibee {

Status bench_fp4_inference(BenchContext& context) {
  VIBEE_ASSIGN(const FormatTrial trial, FormatTrial::make(context.settings(), true));
  const uint32_t pairs = context.settings().quick ? 7 : 21;
  for (const bool prompt : {false, true}) {
    VIBEE_ASSIGN(const PairedRatio speed, trial.speed_of("nvfp4", "bf16", pairs, prompt));
    context.figure(prompt ? "reading a prompt, nvfp4 over bf16" : "generation, nvfp4 over bf16", speed.ratio, "x", 0,
                   fmt::format("{:.2f} to {:.2f}", speed.low, speed.high));
  }
  VIBEE_ASSIGN(const double nvfp4, trial.kl_of("nvfp4"));
  VIBEE_ASSIGN(const double mxfp4, trial.kl_of("mxfp4"));
  VIBEE_ASSIGN(const double q4_0, trial.kl_of("q4_0"));
  context.figure("KL divergence of nvfp4 weights", nvfp4, "nats");
  context.target("KL of mxfp4 over that of nvfp4", mxfp4 / nvfp4, "x", 1 / 0.6);
  context.target("KL of q4_0 over that of nvfp4", q4_0 / nvfp4, "x", 1 / 1.05);
  return {};
}

}  // namespace vibee
