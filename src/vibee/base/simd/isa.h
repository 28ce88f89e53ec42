// SPDX-License-Identifier: Apache-2.0
// Instruction sets that kernels are written for, and which of them this process may use.
#pragma once

#include <string_view>

#include "vibee/base/status/status.h"

namespace vibee {

/// Ordered: a machine that has one has all before it. avx512 means F, BW, DQ, VL and VNNI.
enum class Isa { scalar = 0, avx2 = 1, avx512 = 2 };

std::string_view name(Isa isa);
/// The best instruction set of this CPU (and operating system).
Isa detected_isa();
/// "scalar", "avx2" or "avx512"; an error when the name is unknown or the CPU lacks it.
Result<Isa> parse_isa(std::string_view text);

}  // namespace vibee
