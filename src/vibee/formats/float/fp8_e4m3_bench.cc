// SPDX-License-Identifier: Apache-2.0
// v1735: what weights in fp8 gain and cost beside bf16, on the user's model or one larger than caches.
#include "vibee/core/technique/context.h"
#include "vibee/kit/format_trial.h"

namespace vibee {

Status bench_fp8_e4m3(BenchContext& context) {
  VIBEE_ASSIGN(const FormatTrial trial, FormatTrial::make(context.settings(), true));
  VIBEE_ASSIGN(const PairedRatio speed, trial.speed_of("fp8", "bf16", context.settings().quick ? 7 : 21));
  context.target("generation, fp8 over bf16", speed.ratio, "x", 1.8,
                 fmt::format("{:.2f} to {:.2f}; half the bytes", speed.low, speed.high));
  VIBEE_ASSIGN(const double mine, trial.kl_of("fp8"));
  VIBEE_ASSIGN(const double four_bits, trial.kl_of("q4_0"));
  context.figure("KL divergence of fp8 weights", mine, "nats");
  context.target("KL of q4_0 over that of fp8", four_bits / mine, "x", 1 / 0.3);
  return {};
}

}  // namespace vibee
