// SPDX-License-Identifier: Apache-2.0
// v1744: what groups of four bits, which checkpoints of GPTQ, AWQ and Marlin become, gain over floats and beside q4_0.
#include "vibee/core/technique/context.h"
#include "vibee/kit/format_trial.h"

namespace vibee {

Status bench_marlin(BenchContext& context) {
  VIBEE_ASSIGN(const FormatTrial trial, FormatTrial::make(context.settings(), true));
  const uint32_t pairs = context.settings().quick ? 7 : 21;
  for (const bool prompt : {false, true}) {
    const char* what = prompt ? "reading a prompt" : "generation";
    VIBEE_ASSIGN(const PairedRatio same, trial.speed_of("int4", "q4_0", pairs, prompt));
    context.target(fmt::format("{}, int4 groups over q4_0", what), same.ratio, "x", 0.95,
                   fmt::format("{:.2f} to {:.2f}", same.low, same.high));
    VIBEE_ASSIGN(const PairedRatio speed, trial.speed_of("int4", "bf16", pairs, prompt));
    context.figure(fmt::format("{}, int4 groups over bf16", what), speed.ratio, "x", 0,
                   fmt::format("{:.2f} to {:.2f}", speed.low, speed.high));
  }
  return {};
}

}  // namespace vibee
