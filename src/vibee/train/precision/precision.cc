// SPDX-License-Identifier: Apache-2.0
#include "vibee/train/precision/precision.h"

#include <bit>

#include "vibee/kernels/update/moment_form.h"
#include "vibee/train/precision/int8_training.h"

namespace vibee {

Status check(const Precision& p) {
  const auto wrong = [](std::string_view key, std::string_view what) {
    return error(Code::invalid, "key 'precision.{}': {}", key, what);
  };
  for (const auto& [key, format] : {std::pair{"compute", p.weights}, {"activations", p.activations}})
    if (format != Format::f32 && format != Format::bf16 && format != Format::f16)
      return wrong(key, "f32, bf16 and f16 are built");
  if (p.gradients != Format::f32 && p.gradients != Format::bf16) return wrong("gradients", "f32 and bf16 are built");
  if (p.weights == Format::f32 && p.master != Master::f32)
    return wrong("master", "is of weights in 16 bits; weights are f32 here (precision.compute)");
  if (p.weights == Format::f16 && p.master == Master::split)
    return wrong("master", "split masters need bf16: fp16 is not the upper half of fp32");
  if (p.update != Bf16Sum::nearest) {
    const std::string_view what = p.update == Bf16Sum::kahan ? "kahan compensates" : "sr rounds";
    if (p.weights != Format::bf16)
      return wrong("bf16_update", fmt::format("{} bf16 weights; weights are {} here", what,
                                              p.weights == Format::f16 ? "fp16" : "fp32"));
    if (p.master != Master::none)
      return wrong("bf16_update",
                   fmt::format("{} bf16 weights without a master; give precision.master = \"none\"", what));
  }
  if (p.gradients == Format::f32 && p.gradient_sums != Bf16Sum::nearest)
    return wrong("gradient_sums", "is of sums in bf16; they are f32 here (precision.gradients)");
  if (!std::has_single_bit(p.moment_block) || p.moment_block < kLeastMomentBlock || p.moment_block > kMostMomentBlock)
    return error(Code::invalid, "key 'optimiser.block': {}; a power of two from {} to {} is asked for", p.moment_block,
                 kLeastMomentBlock, kMostMomentBlock);
  VIBEE_TRY(check_int8_training(p));
  if (!p.stored.empty() && p.products != nullptr && !p.products->forward.plain())
    return wrong("qat", "says what products compute, as precision.products does; give one of both");
  if (p.loss_scale.window == 0) return wrong("loss_scale_window", "a step at least is asked for");
  if (p.loss_scale.hysteresis == 0) return wrong("loss_scale_hysteresis", "an overflow at least is asked for");
  return {};
}

}  // namespace vibee
