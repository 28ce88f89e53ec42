// SPDX-License-Identifier: Apache-2.0
// The V16 of the instruction set that this object is compiled for.
#pragma once

#if defined(__AVX512F__) || defined(VIBEE_EMULATED_AVX512)
#include "vibee/base/simd/v16_avx512.h"
#elif defined(__AVX2__)
#include "vibee/base/simd/v16_avx2.h"
#else
#include "vibee/base/simd/v16_scalar.h"
#endif
#include "vibee/base/simd/v16_math.h"
