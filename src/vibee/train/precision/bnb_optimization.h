// SPDX-License-Identifier: Apache-2.0
// Moments in 8 bits and in a window of memory (Dettmers et al., ICLR 2022, arXiv:2110.02861; QLoRA, arXiv:2305.14314).
// Which moments lie in 8 bits is a policy by weights: those of small ones cost nothing, and those of embeddings and
// experts are of gradients that are zero for what a step did not use; a second moment that became 0 beside a first one
// that did not would move such an element by its quotient.
#pragma once

#include <string_view>

#include "vibee/kernels/update/moment_form.h"
#include "vibee/kernels/update/update_rule.h"
#include "vibee/train/precision/precision.h"

namespace vibee {

/// Whether moments of a weight lie in 8 bits, where those of the run may.
bool narrow_moments(const Precision& precision, std::string_view weight, uint64_t elements);

/// In what the rule's moment m lies.
MomentForm moment_form(RuleId rule, uint32_t m, bool narrow);
/// Bytes of a moment of so many elements, whichever moment it is.
uint64_t moment_bytes(const Precision& precision, RuleId rule, bool narrow, uint64_t elements);

}  // namespace vibee
