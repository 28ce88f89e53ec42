// SPDX-License-Identifier: Apache-2.0
// What the kernels of compress_block.inc take and how they are launched: rows of floats in few bits (compress.h), a
// warp a group of 256 numbers.
#pragma once

#include "vibee/base/random/rounding.h"
#include "vibee/core/device/launch_shape.h"
#include "vibee/kernels/pointwise/compress_layout.h"

namespace vibee {

/// Rows of n numbers become rows of compressed_bytes(n, bits). The key is that of the first row.
struct CompressArgs {
  const void* x;
  uint8_t* out;
  RoundingKey key;
  uint32_t rows, n, bits;
};
struct DecompressArgs {
  const uint8_t* x;
  void* out;
  uint32_t rows, n, bits;
};

constexpr uint32_t kCompressWarps = 4;
VIBEE_BLOCK_AND_HOST constexpr uint32_t compress_groups(uint32_t n) {
  return (n + kCompressGroup - 1) / kCompressGroup;
}
constexpr LaunchShape compress_launch(uint32_t rows, uint32_t n) {
  const uint64_t groups = uint64_t(rows) * compress_groups(n);
  return {{uint32_t((groups + kCompressWarps - 1) / kCompressWarps), 1, 1}, kCompressWarps * 32, 0};
}

}  // namespace vibee
