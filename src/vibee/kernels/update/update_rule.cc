// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/update/update_rule.h"

#include <algorithm>

namespace vibee {

#define VIBEE_RULE(id, squares)                                                       \
  uint32_t id##_moments(const Optimiser&);                                            \
  UpdateStep id##_step(const Optimiser&, uint64_t, bool);                             \
  void id##_scalar(const UpdateStep&, const float*, uint64_t, float*, float* const*); \
  void id##_avx2(const UpdateStep&, const float*, uint64_t, float*, float* const*);   \
  void id##_avx512(const UpdateStep&, const float*, uint64_t, float*, float* const*);
#include "vibee/kernels/update/rules.inc"
#undef VIBEE_RULE

std::span<const UpdateRule> update_rules() {
  static constexpr UpdateRule kRules[] = {
#define VIBEE_RULE(id, squares) \
  {RuleId::id, #id, squares, id##_moments, id##_step, {id##_scalar, id##_avx2, id##_avx512, id##_avx512}},
#include "vibee/kernels/update/rules.inc"
#undef VIBEE_RULE
  };
  return kRules;
}

const UpdateRule* find_rule(std::string_view name) {
  const auto rules = update_rules();
  const auto found = std::find_if(rules.begin(), rules.end(), [&](const UpdateRule& r) { return r.name == name; });
  return found == rules.end() ? nullptr : &*found;
}

}  // namespace vibee
