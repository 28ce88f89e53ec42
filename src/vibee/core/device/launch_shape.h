// SPDX-License-Identifier: Apache-2.0
// How many blocks of how many threads run a kernel.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

namespace vibee {

struct LaunchShape {
  std::array<uint32_t, 3> grid{1, 1, 1};
  uint32_t threads = 32;        ///< of a block: whole warps
  uint32_t dynamic_shared = 0;  ///< bytes
};

/// Threads of a block that shares `work` equal pieces: whole warps, at most `most`. A function of the work alone, and
/// with it the order of sums.
constexpr uint32_t threads_for(uint64_t work, uint32_t most) {
  return uint32_t(std::clamp<uint64_t>((work + 31) / 32 * 32, 32, most));
}

}  // namespace vibee
