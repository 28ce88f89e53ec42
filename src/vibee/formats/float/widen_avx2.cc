// SPDX-License-Identifier: Apache-2.0
#include "vibee/formats/float/widen_lanes.h"

namespace vibee {

constinit const WidenKernels widen_avx2 = {from_half, to_half};

}  // namespace vibee
