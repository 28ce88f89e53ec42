// SPDX-License-Identifier: Apache-2.0
// One choice for each of many things, with the least damage in a budget (the multiple-choice knapsack: Kellerer,
// Pferschy, Pisinger, "Knapsack Problems", 2004, chapter 11): bits of tensors, what is kept or computed again.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "vibee/base/status/status.h"

namespace vibee {

struct KnapsackChoice {
  uint64_t size;
  double damage;
};

struct KnapsackAnswer {
  std::vector<uint32_t> chosen;  ///< one an item
  uint64_t size = 0;             ///< of all, at most the budget
  double damage = 0;
  double bound = 0;  ///< no answer has less: that of choices that may be mixed
};

/// The least damage within the budget: exactly where the budget is at most 4096 above the smallest sum, else of sizes
/// that are rounded up to 1/4096 of that, with what is left filled greedily. An error says what the smallest sum is.
Result<KnapsackAnswer> solve_knapsack(std::span<const std::vector<KnapsackChoice>> items, uint64_t budget);

}  // namespace vibee
