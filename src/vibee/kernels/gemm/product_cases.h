// SPDX-License-Identifier: Apache-2.0
// Random operands of products for tests.
#pragma once

#include <vector>

#include "vibee/base/math/half.h"
#include "vibee/base/random/philox.h"
#include "vibee/kernels/gemm/product_operand.h"

namespace vibee {

/// An operand of normal numbers in memory of its own.
struct RandomOperand {
  std::vector<float> floats;
  std::vector<uint16_t> halves;
  ProductOperand operand;

  RandomOperand(uint32_t rows, uint32_t depth, bool across, Format element, uint64_t seed) {
    RandomStream random(seed, Purpose::test);
    floats.resize(uint64_t(rows) * depth);
    for (float& x : floats) x = random.normal();
    for (const float x : floats) halves.push_back(element == Format::bf16 ? float_to_bf16(x) : float_to_half(x));
    const void* p = element == Format::f32 ? static_cast<const void*>(floats.data()) : halves.data();
    operand = {p, element, across ? rows : depth, across, rows, depth};
  }
};

/// Memory that begins at a multiple of 64.
struct AlignedBytes {
  explicit AlignedBytes(uint64_t bytes) : all(bytes + 64) {}
  std::vector<uint8_t> all;
  uint8_t* data() { return all.data() + (64 - uintptr_t(all.data()) % 64) % 64; }
};

}  // namespace vibee
