// SPDX-License-Identifier: Apache-2.0
// Sums in bf16, of 8 significant bits, done so that they do not stall: weights without a master, and gradients that are
// summed over the parts and shares of a step (Zamirai et al., arXiv:2010.06192). Rounding at random draws the numbers
// of an element from its place, the step and the seed, so bytes do not depend on threads.
#pragma once

#include <string_view>

#include "vibee/kernels/update/weight_form.h"

namespace vibee {

/// How a sum in bf16 is rounded: to nearest, at random, or to nearest with the error of all that was added so far.
enum class Bf16Sum : uint8_t { nearest, random, kahan };

inline WeightForm bf16_form(Bf16Sum sum) {
  return sum == Bf16Sum::nearest  ? WeightForm::bf16
         : sum == Bf16Sum::random ? WeightForm::bf16_sr
                                  : WeightForm::bf16_kahan;
}

/// Adds n <= kUpdateBlock floats to elements; the first addition to them finds zeros, whatever lies there.
void add_to(const FormElements& sum, Isa isa, const float* x, uint64_t n, bool first, const RoundingKey& key);

}  // namespace vibee
