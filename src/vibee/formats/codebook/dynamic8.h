// SPDX-License-Identifier: Apache-2.0
// The dynamic map of bitsandbytes (Dettmers 2015, arXiv:1511.04561; Dettmers et al., ICLR 2022): 256 values from -1 to
// 1, or from 0 to 1, of which a decade has twice as many as the one below, so that a number keeps 1 % where it is large
// and its size where it is small. A block of numbers is its largest magnitude in f32 and a code each: the value nearest
// to x / largest, of two as near the lower.
//
// Infinities count as the largest number, NaN as 0; a block whose largest is below kLeastDynamic8 is zeros.
#pragma once

#include <cstdint>

#include "vibee/base/simd/isa.h"

namespace vibee {

/// Where codes are found by arithmetic. A magnitude's position counts the bounds between it and 0. Eight of these are
/// at the ends of decades: how many of the eight are below is the index here, exactly. Inside a decade bounds are
/// evenly spaced, but for rounding: position = floor(scale * magnitude + offset), kept between `least` and `most`.
/// Where that is within kDoubt of a whole number rounding could decide, and the bounds themselves are asked.
struct Dynamic8Decades {
  float ends[8], scale[8], offset[8], least[8], most[8];
};
inline constexpr float kDynamic8Doubt = 0x1p-12f;

struct Dynamic8Map {
  float values[256];  ///< of the codes, ascending
  float bounds[255];  ///< between two values
  int32_t zero;       ///< the code of 0
  Dynamic8Decades decades;
};
const Dynamic8Map& dynamic8_map(bool is_signed);

/// The code of a number between -1 and 1: the definition, by a search among the bounds.
uint8_t dynamic8_code(const Dynamic8Map& map, float x);

/// A block whose largest magnitude is below is stored as zeros: the inverse of that would be infinite.
inline constexpr float kLeastDynamic8 = 1e-38f;

/// n numbers of one block: their codes; the largest magnitude is returned.
using EncodeDynamic8 = float (*)(const Dynamic8Map& map, const float* x, uint64_t n, uint8_t* codes);
using DecodeDynamic8 = void (*)(const Dynamic8Map& map, const uint8_t* codes, float largest, uint64_t n, float* x);
struct Dynamic8Kernels {
  EncodeDynamic8 encode;
  DecodeDynamic8 decode;
};
/// The same bytes on every instruction set.
const Dynamic8Kernels& dynamic8_kernels(Isa isa);

}  // namespace vibee
