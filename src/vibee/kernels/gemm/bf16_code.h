// SPDX-License-Identifier: Apache-2.0
// Products in bf16 (bf16_gemm.h), an instruction set each.
#pragma once

#include "vibee/kernels/gemm/tile_code.h"

namespace vibee {

inline constexpr uint32_t kBf16Block = 32;  ///< of depth, in two chains

extern const TileCode bf16_code_scalar, bf16_code_avx2, bf16_code_avx512, bf16_code_amx;

}  // namespace vibee
