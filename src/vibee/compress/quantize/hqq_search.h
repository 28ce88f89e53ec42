// SPDX-License-Identifier: Apache-2.0
// Half-quadratic quantisation (Badri and Shaji 2023): where the codes of a group begin, for a scale that stays, so that
// few large errors count for less than squares would have it: |w - w'|^p with p 0.7, split into a part that shrinks and
// one that a mean solves.
#pragma once

#include <cstdint>
#include <span>

#include "vibee/compress/quantize/round_to.h"

namespace vibee {

/// Codes 0 to `most` of values scale * code - shift: code = nearest((w + shift) / scale), each step rounded, even on
/// ties. A scale of zero gives 0 where that is no number.
struct ShiftedGrid {
  float scale;
  uint32_t most;
  RoundTo rounded;  ///< to the type that scales and shifts are kept in
  uint8_t code(float w, float shift) const;
};

/// The shift of least mean |w - w'| among `shift` and those that 20 steps of the search come by (beta 10 growing
/// by 1.01); rounded. The mean of one group may rise before it falls, so it is not taken for the end.
float hqq_shift(std::span<const float> w, const ShiftedGrid& grid, float shift);

}  // namespace vibee
