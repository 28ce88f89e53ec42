// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/update/rule_kernels.h"

namespace vibee {
#define VIBEE_RULE(id, squares) VIBEE_RULE_KERNEL(id, avx512)
#include "vibee/kernels/update/rules.inc"
}  // namespace vibee
