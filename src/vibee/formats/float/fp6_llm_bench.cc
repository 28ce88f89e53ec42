// SPDX-License-Identifier: Apache-2.0
// v1775: what weights of six bits gain and cost beside formats of 4 and 8.
#include "vibee/core/technique/context.h"
#include "vibee/formats/packed/format.h"
#include "vibee/kit/format_trial.h"

namespace vibee {

Status bench_fp6_llm(BenchContext& context) {
  VIBEE_ASSIGN(const FormatTrial trial, FormatTrial::make(context.settings(), true));
  VIBEE_ASSIGN(const PairedRatio speed, trial.speed_of("fp6", "q8_0", context.settings().quick ? 7 : 21));
  context.target("generation, fp6 over q8_0", speed.ratio, "x", 1.25,
                 fmt::format("{:.2f} to {:.2f}", speed.low, speed.high));
  VIBEE_ASSIGN(const double e2m3, trial.kl_of("fp6"));
  VIBEE_ASSIGN(const double e3m2, trial.kl_of("fp6e3m2"));
  VIBEE_ASSIGN(const double four_bits, trial.kl_of("q4_0"));
  context.figure("KL divergence of fp6 (E2M3) weights", e2m3, "nats");
  context.target("KL of q4_0 over that of E2M3", four_bits / e2m3, "x", 1 / 0.15);
  context.target("KL of q4_0 over that of E3M2", four_bits / e3m2, "x", 1 / 0.45);
  return {};
}

}  // namespace vibee
