// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "vibee/kernels/gemm/act.h"
#include "vibee/kernels/pointwise/pointwise.h"

namespace vibee {

/// A row of k floats (a multiple of 32, and of the rule's groups) by a rule that is not ActRule::floats.
void quantize_row(const PointwiseKernels& pw, ActRule rule, const float* x, uint32_t k, const ActRow& row);

}  // namespace vibee
