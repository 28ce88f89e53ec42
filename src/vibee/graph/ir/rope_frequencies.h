// SPDX-License-Identifier: Apache-2.0
// Angles a position that a rope_table node stands for. Plain rotary embedding (Su et al. 2021, arXiv:2104.09864),
// linear scaling (`factor`), factors a pair (Llama 3, LongRoPE), and YaRN (Peng et al. 2023, arXiv:2309.00071,
// section 3.2).
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "vibee/graph/ir/ir.h"

namespace vibee {

/// One angle a pair. `factors` has one divisor a pair, or is empty.
inline std::vector<double> rope_frequencies(const Node& node, std::span<const float> factors) {
  const auto dims = double(node.integer("dims"));
  const double base = node.number("base"), factor = node.number("factor", 1.0);
  const double trained = node.number("yarn_context");  // > 0: YaRN
  // The pair whose wave turns `turns` times in the trained context.
  const auto pair_of = [&](double turns) {
    return dims * std::log(trained / (turns * 2 * M_PI)) / (2 * std::log(base));
  };
  const double low = trained > 0 ? std::max(0.0, std::floor(pair_of(node.number("beta_fast", 32)))) : 0;
  const double high = trained > 0 ? std::min(dims - 1, std::ceil(pair_of(node.number("beta_slow", 1)))) : 0;
  std::vector<double> out;
  for (int64_t i = 0; i < node.integer("dims") / 2; ++i) {
    double turn = std::pow(base, -2.0 * double(i) / dims);
    if (!factors.empty()) turn /= factors[size_t(i)];
    if (trained > 0) {
      const double ramp = std::clamp((double(i) - low) / std::max(0.001, high - low), 0.0, 1.0);
      turn = turn / factor * ramp + turn * (1 - ramp);
    } else {
      turn /= factor;
    }
    out.push_back(turn);
  }
  return out;
}

}  // namespace vibee
