// SPDX-License-Identifier: Apache-2.0
// Numbers of an operand of a product, sixteen at once; included by kernels of an instruction set alone.
#pragma once

#include <cstring>

#include "vibee/base/simd/v16.h"
#include "vibee/kernels/gemm/product_operand.h"

namespace vibee {
namespace {

inline V16 load_numbers(Format f, const void* p, uint64_t at) {
  return f == Format::f32    ? v_load(static_cast<const float*>(p) + at)
         : f == Format::bf16 ? v_load_bf16(static_cast<const uint16_t*>(p) + at)
                             : v_load_half(static_cast<const uint16_t*>(p) + at);
}
/// Some of sixteen, the others zero; nothing behind them is read.
inline V16 load_some(Format f, const void* p, uint64_t at, uint32_t n) {
  if (n >= 16) return load_numbers(f, p, at);
  if (f == Format::f32) return v_load_n(static_cast<const float*>(p) + at, int(n));
  uint16_t some[16] = {};
  std::memcpy(some, static_cast<const uint16_t*>(p) + at, 2 * n);
  return load_numbers(f, some, 0);
}

}  // namespace
}  // namespace vibee
