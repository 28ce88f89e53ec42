// SPDX-License-Identifier: Apache-2.0
// The rules as kernels of one instruction set; included by rules_<isa>.cc only, which names it.
#pragma once

#include "vibee/kernels/update/adamw_kernel.h"
#include "vibee/kernels/update/lion_kernel.h"
#include "vibee/kernels/update/sgd_kernel.h"

#define VIBEE_RULE_KERNEL(id, isa)                                                                       \
  void id##_##isa(const UpdateStep& step, const float* g, uint64_t n, float* w, float* const* moments) { \
    id##_elements(step, g, n, w, moments);                                                               \
  }
