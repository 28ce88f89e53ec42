// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/gemm/int8_kernel.h"

namespace vibee {
namespace {

template <uint32_t M>
void tile(const uint8_t* a, const uint8_t* b, uint64_t, uint32_t depth, const TileFinish& to) {
  const uint32_t fours = (depth + 3) / 4;
  int32_t sums[M][kPackedPanel] = {};
  for (uint32_t i = 0; i < fours; ++i, a += 16, b += 4 * kPackedPanel)
    for (uint32_t m = 0; m < M; ++m)
      for (uint32_t j = 0; j < kPackedPanel; ++j)
        for (uint32_t k = 0; k < 4; ++k) sums[m][j] += int8_t(a[4 * m + k]) * int8_t(b[4 * j + k]);
  for (uint32_t m = 0; m < M; ++m)
    for (uint32_t j = 0; j < to.columns; ++j)
      to.d[m * to.ld + j] = float(sums[m][j]) * (to.a_scales[m] * to.b_scales[j]);
}
PackedTile choose(uint32_t rows, uint32_t) {
  constexpr PackedTile kTiles[] = {tile<1>, tile<2>, tile<3>, tile<4>};
  return kTiles[rows - 1];
}

}  // namespace

constinit const TileCode int8_code_scalar = {
    4, 1, 4, 1, 0, choose, int8_largest_of_rows, int8_pack_rows, int8_pack_rows, nullptr, nullptr};

}  // namespace vibee
