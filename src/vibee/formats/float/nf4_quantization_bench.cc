// SPDX-License-Identifier: Apache-2.0
// v1740: what weights in NF4 gain beside bf16 and cost beside other formats of 4 bits.
#include "vibee/core/technique/context.h"
#include "vibee/formats/packed/format.h"
#include "vibee/kit/format_trial.h"

namespace vibee {

Status bench_nf4_quantization(BenchContext& context) {
  VIBEE_ASSIGN(const FormatTrial trial, FormatTrial::make(context.settings(), true));
  VIBEE_ASSIGN(const PairedRatio speed, trial.speed_of("nf4", "bf16", context.settings().quick ? 7 : 21));
  context.target("generation, nf4 over bf16", speed.ratio, "x", 2,
                 fmt::format("{:.2f} to {:.2f}; 4.5 of 16 bits", speed.low, speed.high));
  VIBEE_ASSIGN(const double mine, trial.kl_of("nf4"));
  VIBEE_ASSIGN(const double fp4, trial.kl_of("fp4"));
  VIBEE_ASSIGN(const double q4_0, trial.kl_of("q4_0"));
  context.figure("KL divergence of nf4 weights", mine, "nats");
  context.target("KL of fp4 over that of nf4", fp4 / mine, "x", 1);
  context.target("KL of q4_0 over that of nf4", q4_0 / mine, "x", 1 / 1.2, "both at 4.5 bits");
  return {};
}

}  // namespace vibee
