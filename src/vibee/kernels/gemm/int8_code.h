// SPDX-License-Identifier: Apache-2.0
// Products in 8-bit integers (int8_gemm.h), an instruction set each. Of b a panel is [depth / 4][16][4] codes, of a a
// tile the same with its own number of rows, where its file says nothing else.
#pragma once

#include "vibee/kernels/gemm/tile_code.h"

namespace vibee {

extern const TileCode int8_code_scalar, int8_code_avx2, int8_code_avx512, int8_code_amx;

}  // namespace vibee
