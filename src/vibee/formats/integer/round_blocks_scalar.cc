// SPDX-License-Identifier: Apache-2.0
#include "vibee/formats/integer/round_blocks_lanes.h"

namespace vibee {

constinit const RoundKernels round_scalar = {whole, symmetric, affine};

}  // namespace vibee
