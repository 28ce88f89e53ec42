// SPDX-License-Identifier: Apache-2.0
// The scale of a tensor in 8-bit floats (Micikevicius et al. 2022, arXiv:2209.05433).
#pragma once

#include <algorithm>
#include <cmath>

namespace vibee {

/// What numbers whose largest is so large are multiplied by: the largest code over it, times 2^-margin; 1 for zeros. A
/// scale has to have an inverse that is a number: what is that small is nothing beside all else.
inline float fp8_scale(float largest, float code, int margin) {
  return largest > 0 ? std::min(std::ldexp(code, -margin) / largest, 0x1p126f) : 1.0f;
}

}  // namespace vibee
