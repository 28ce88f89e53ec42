// SPDX-License-Identifier: Apache-2.0
#include "vibee/formats/integer/scale_search.h"

#include "vibee/base/simd/isa.h"

namespace vibee {

const SearchKernels& search_kernels() {
  const Isa isa = detected_isa();
  return isa >= Isa::avx512 ? search_avx512 : isa == Isa::avx2 ? search_avx2 : search_scalar;
}

}  // namespace vibee
