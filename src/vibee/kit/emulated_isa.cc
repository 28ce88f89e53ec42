// SPDX-License-Identifier: Apache-2.0
// The instruction set of tests that run AVX-512 kernels in emulation (cmake/folders.cmake): there detected_isa is this.
#include "vibee/base/simd/isa.h"

namespace vibee {

Isa emulated_isa();
Isa emulated_isa() { return Isa::avx512; }

}  // namespace vibee
