// SPDX-License-Identifier: Apache-2.0
// What the kernels of rules_block.inc take and how they are launched: a thread for every eight weights.
#pragma once

#include "vibee/core/device/block_pieces.h"
#include "vibee/core/device/launch_shape.h"

namespace vibee {

/// A step of a rule (update_rule.h): gradients, weights and moments of n elements in f32, scale and constants those of
/// its UpdateStep.
struct RuleArgs {
  const float* g;
  float* w;
  float* moments[2];  // as many as the rule has
  uint64_t n;
  float scale;
  float constants[6];
};

constexpr uint32_t kRuleThreads = 256;
constexpr LaunchShape rule_launch(uint64_t n) {
  return {{uint32_t((pieces(n) + kRuleThreads - 1) / kRuleThreads), 1, 1}, kRuleThreads, 0};
}

}  // namespace vibee
