// SPDX-License-Identifier: Apache-2.0
// The instruction set of tests that run kernels of AVX-512 and AMX in emulation (cmake/folders.cmake): there
// detected_isa is this.
#include "vibee/base/simd/isa.h"

namespace vibee {

Isa emulated_isa();
Isa emulated_isa() { return Isa::amx; }

}  // namespace vibee
