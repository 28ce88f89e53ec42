// SPDX-License-Identifier: Apache-2.0
#include "vibee/formats/integer/scale_search_lanes.h"

namespace vibee {

constinit const SearchKernels search_scalar = {affine, symmetric, table, listed};

}  // namespace vibee
