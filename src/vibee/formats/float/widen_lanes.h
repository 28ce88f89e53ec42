// SPDX-License-Identifier: Apache-2.0
// The kernels of widen.h on V16; included by widen_<isa>.cc only.
#pragma once

#include <cstring>

#include "vibee/base/simd/v16.h"
#include "vibee/formats/float/widen.h"

namespace vibee {
namespace {

void from_half(const uint8_t* in, uint64_t n, float* out) {
  for (uint64_t i = 0; i < n; i += 16) {
    uint16_t halves[16];
    std::memcpy(halves, in + 2 * i, sizeof halves);
    v_store(out + i, v_load_half(halves));
  }
}

void to_half(const float* in, uint64_t n, uint8_t* out) {
  for (uint64_t i = 0; i < n; i += 16) {
    uint16_t halves[16];
    v_store_half(halves, v_load(in + i));
    std::memcpy(out + 2 * i, halves, sizeof halves);
  }
}

}  // namespace
}  // namespace vibee
