// SPDX-License-Identifier: Apache-2.0
// How a step moves weights: rules in one pass over gradients, weights and moments. Elements are independent, so any
// split over threads gives the same bytes. A rule is a row of rules.inc and two files (docs/adding.md).
#pragma once

#include <cstdint>
#include <iterator>
#include <span>
#include <string_view>

#include "vibee/base/simd/isa.h"

namespace vibee {

enum class RuleId : uint8_t {
#define VIBEE_RULE(id, squares) id,
#include "vibee/kernels/update/rules.inc"
#undef VIBEE_RULE
};

/// What a run says of its rule; each rule reads what it needs.
struct Optimiser {
  double rate = 1e-3, beta1 = 0.9, beta2 = 0.95, eps = 1e-8, decay = 0.1;
  RuleId rule = RuleId::adamw;
  double momentum = 0.9;
  bool nesterov = false;
};

/// Moments that any rule holds of an element, at most.
inline constexpr uint32_t kMostMoments = 2, kNoSquares = kMostMoments;

/// One step, as the rule's kernel reads it. Gradients are multiplied by `scale` first.
struct UpdateStep {
  float scale = 1;
  float constants[6] = {};  ///< of the rule, as its <id>_kernel.h names them
};

/// Updates n weights and their moments, each an array of n that begins with zeros before the first step.
using UpdateKernel = void (*)(const UpdateStep& step, const float* g, uint64_t n, float* w, float* const* moments);

struct UpdateRule {
  RuleId rule;
  std::string_view name;
  uint32_t squares;  ///< the moment that is never negative, or kNoSquares
  uint32_t (*moments)(const Optimiser& optimiser);
  /// Step t = 1, 2, ...; `decays`: whether the weights shrink.
  UpdateStep (*step)(const Optimiser& optimiser, uint64_t t, bool decays);
  UpdateKernel kernels[std::size(kIsas)];  ///< one an instruction set, with the same bytes
  UpdateKernel kernel(Isa isa) const { return kernels[size_t(isa)]; }
};

/// In the order of the enum.
std::span<const UpdateRule> update_rules();
inline const UpdateRule& info(RuleId rule) { return update_rules()[size_t(rule)]; }
/// nullptr where there is none of the name.
const UpdateRule* find_rule(std::string_view name);

}  // namespace vibee
