// SPDX-License-Identifier: Apache-2.0
#include "vibee/train/precision/bnb_optimization.h"

namespace vibee {

bool narrow_moments(const Precision& precision, std::string_view weight, uint64_t elements) {
  constexpr uint64_t kSmall = 4096;  // that of bitsandbytes
  const auto has = [&](std::string_view part) { return weight.find(part) != weight.npos; };
  return precision.narrow_moments && elements >= kSmall && !has("_embd.") && !has("_exps.");
}

MomentForm moment_form(RuleId rule, uint32_t m, bool narrow) {
  if (!narrow) return MomentForm::f32;
  return m == info(rule).squares ? MomentForm::unsigned_dynamic8 : MomentForm::dynamic8;
}

uint64_t moment_bytes(const Precision& precision, RuleId rule, bool narrow, uint64_t elements) {
  return MomentElements::bytes(moment_form(rule, 0, narrow), precision.moment_block, elements);
}

}  // namespace vibee
