// SPDX-License-Identifier: Apache-2.0
// The activations on V16, for the kernels that apply them: of this folder and of products with an epilogue.
#pragma once

#include "vibee/base/simd/v16.h"
#include "vibee/kernels/pointwise/pointwise.h"

namespace vibee {
namespace {

inline V16 activated(Gate gate, V16 x) {
  return gate == Gate::silu ? v_silu(x) : gate == Gate::gelu_tanh ? v_gelu_tanh(x) : v_gelu(x);
}

}  // namespace
}  // namespace vibee
