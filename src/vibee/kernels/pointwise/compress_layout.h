// SPDX-License-Identifier: Apache-2.0
// How rows of compress.h lie in memory: what the CPU's kernels and a device's have in common.
#pragma once

#include "vibee/core/device/block.h"

namespace vibee {

constexpr uint32_t kCompressGroup = 256;

/// Bytes of a row of n numbers: 4 a group, and the codes.
VIBEE_BLOCK_AND_HOST constexpr uint64_t compressed_bytes(uint64_t n, uint32_t bits) {
  const uint64_t whole = n / kCompressGroup, rest = n % kCompressGroup;
  return whole * (4 + kCompressGroup * bits / 8) + (rest > 0 ? 4 + (rest * bits + 7) / 8 : 0);
}

}  // namespace vibee
