// SPDX-License-Identifier: Apache-2.0
// The scale of the Microscaling formats (OCP MX 1.0, section 5.4).
#pragma once

#include <bit>
#include <cstdint>

namespace vibee {

/// E8M0: 2^(e - 127), the first of them subnormal; 255 is NaN there and infinite here.
constexpr float e8m0(uint8_t e) { return std::bit_cast<float>(e == 0 ? uint32_t(0x00400000) : uint32_t(e) << 23); }

}  // namespace vibee
