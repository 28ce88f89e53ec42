// SPDX-License-Identifier: Apache-2.0
// Rounding to the type that a model's numbers are kept in, as packages do it that compute in that type step by step.
#pragma once

#include "vibee/base/math/half.h"
#include "vibee/formats/packed/format.h"

namespace vibee {

using RoundTo = float (*)(float);

/// Of f32, f16 or bf16.
inline RoundTo round_to(Format type) {
  if (type == Format::f16) return [](float x) { return half_to_float(float_to_half(x)); };
  if (type == Format::bf16) return [](float x) { return bf16_to_float(float_to_bf16(x)); };
  VIBEE_CHECK(type == Format::f32);
  return [](float x) { return x; };
}

}  // namespace vibee
