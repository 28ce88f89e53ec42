// SPDX-License-Identifier: Apache-2.0
// From (group size, rows) to the instance of an integer micro-kernel. Included at the end of qgemm_<isa>.h, which
// defines tile_entry.
#pragma once

#include <cstdint>
#include <utility>

#include "vibee/kernels/gemm/act.h"
#include "vibee/kernels/gemm/panel.h"

namespace vibee {
namespace {

using TileFn = void (*)(const uint8_t*, uint32_t, const uint8_t*, uint32_t, float*);
template <Format F, uint32_t G, uint32_t... I>
inline TileFn pick(uint32_t m, std::integer_sequence<uint32_t, I...>) {
  static constexpr TileFn kTiles[] = {tile_entry<F, G, I + 1>...};
  return kTiles[m - 1];
}
/// Rows row0 .. row0+m (m up to the kernel's max_rows, inside one group of g rows) of one panel.
template <Format F, uint32_t kMax>
inline void tile_dispatch(const uint8_t* panel, uint32_t k, const uint8_t* group, uint32_t g, uint32_t row0, uint32_t m,
                          float* out) {
  const TileFn fn = g == 1   ? tile_entry<F, 1, 1>
                    : g == 4 ? pick<F, 4>(m, std::make_integer_sequence<uint32_t, 4>{})
                             : pick<F, kActMaxGroup>(m, std::make_integer_sequence<uint32_t, kMax>{});
  fn(panel, k, group, row0, out);
}

}  // namespace
}  // namespace vibee
