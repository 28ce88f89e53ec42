// SPDX-License-Identifier: Apache-2.0
// What the kernels of lora_block.inc take and how they are launched: products with the adapters of a batch whose rows
// have different ones or none (lora.h; the batching is that of Punica, arXiv:2310.18547). Sums go in the orders of the
// CPU's lora_down and lora_up, and have their bytes. A grid of no blocks is not to be launched.
#pragma once

#include "vibee/core/device/launch_shape.h"

namespace vibee {

/// What the adapters of a step add to one product: arrays over adapters, and which of them a row has; -1: none. An
/// adapter that does not change the product has rank 0.
struct LoraTable {
  const float* const* a = nullptr;  ///< [rank][k]
  const float* const* b = nullptr;  ///< [rank][n], B transposed
  const uint32_t* rank = nullptr;   ///< at most `width` of the arguments
  const float* scale = nullptr;
  const int32_t* adapter = nullptr;  ///< of each row
};

/// h[r][j] = scale * sum over k of x[r][k] * a[j][k]; zeros behind the rank, and where there is no adapter.
struct LoraDownArgs {
  const float* x;
  float* h;
  LoraTable table;
  uint32_t k, width;  ///< of x and of h
};
/// y[r][c] = x[r][c] + sum over the rank of h[r][j] * b[j][c]; in place allowed.
struct LoraUpArgs {
  const float *x, *h;
  float* y;
  LoraTable table;
  uint32_t n, width;  ///< of x and y, and of h
};

constexpr uint32_t kLoraThreads = 256, kLoraLanes = 16;  // of a sum of lora_down

constexpr LaunchShape lora_down_launch(uint32_t rows, uint32_t width) {
  return {{rows, 1, 1}, threads_for(uint64_t(width) * kLoraLanes, kLoraThreads), 0};
}
constexpr LaunchShape lora_up_launch(uint32_t rows, uint32_t n) {
  const uint32_t threads = threads_for(n, kLoraThreads);
  return {{rows, (n + threads - 1) / threads, 1}, threads, 0};
}

}  // namespace vibee
