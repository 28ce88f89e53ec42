// SPDX-License-Identifier: Apache-2.0
// Scales of Atom's weights (atom_blocks.cc).
#pragma once

#include <algorithm>
#include <cstdint>

#include "vibee/base/math/half.h"

namespace vibee {

/// Codes go from -levels - 1 to levels, in four bits and in eight.
inline constexpr int kAtomLevels = 7, kAtomKeptLevels = 127;
/// What is left of the largest weight of a group of four bits.
inline constexpr float kAtomClip = 0.85f;

/// The half of a group whose largest magnitude is `largest`, never zero where that is not.
inline uint16_t atom_scale(float largest, bool kept, float clip = kAtomClip) {
  const float scale = kept ? largest / float(kAtomKeptLevels) : largest * clip / float(kAtomLevels);
  const uint16_t half = float_to_half(std::min(scale, 65504.0f));
  return half == 0 && largest > 0 ? uint16_t(1) : half;
}

}  // namespace vibee
