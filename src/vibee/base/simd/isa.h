// SPDX-License-Identifier: Apache-2.0
// Instruction sets that kernels are written for, and which of them this process may use.
#pragma once

#include <string_view>

#include "vibee/base/status/status.h"

namespace vibee {

/// Ordered: a machine that has one has all before it. avx512 means F, BW, DQ, VL and VNNI; amx its tiles of 8-bit
/// integers and bf16, which families without kernels for them pass over.
enum class Isa { scalar = 0, avx2 = 1, avx512 = 2, amx = 3 };
inline constexpr Isa kIsas[] = {Isa::scalar, Isa::avx2, Isa::avx512, Isa::amx};

std::string_view name(Isa isa);
/// The best instruction set of this CPU (and operating system, which the first call asks for the tiles' registers).
Isa detected_isa();
/// "scalar", "avx2", "avx512" or "amx"; an error when the name is unknown or the CPU lacks it.
Result<Isa> parse_isa(std::string_view text);

}  // namespace vibee
