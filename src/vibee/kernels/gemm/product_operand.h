// SPDX-License-Identifier: Apache-2.0
// An operand of a product of training as a matrix of rows times depth, whichever way it lies in memory: the product of
// a [m, k] and b [n, k] is d[i][j] = sum over k of a[i][k] b[j][k].
#pragma once

#include <cstdint>

#include "vibee/formats/packed/format.h"

namespace vibee {

struct ProductOperand {
  const void* p = nullptr;
  Format element = Format::f32;  ///< f32, bf16 or f16
  uint64_t ld = 0;               ///< elements from one stored row to the next
  bool across = false;           ///< depth runs over the stored rows (the operand is the transpose of what is stored)
  uint32_t rows = 0, depth = 0;
};

}  // namespace vibee
