// SPDX-License-Identifier: Apache-2.0
// For which architectures a fat binary has code. NVIDIA does not document the container; its fields are as nvcc 11 to
// 13 write them: a header of 16 bytes (magic 0xBA55ED50, version, header size, bytes that follow), then entries with a
// header of their own (kind at 0: 1 is PTX, 2 is machine code; header size at 4, payload size at 8, architecture at
// 28).
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace vibee {

/// "sm_80, sm_90, compute_100"; "unknown" for bytes that are no fat binary. The letter of sm_90a is not in the
/// container.
std::string image_architectures(std::span<const std::byte> fatbin);

}  // namespace vibee
