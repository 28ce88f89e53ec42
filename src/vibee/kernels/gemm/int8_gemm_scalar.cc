// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/gemm/int8_kernel.h"

namespace vibee {
namespace {

template <uint32_t M>
void tile(const uint8_t* a, const uint8_t* b, uint64_t, uint32_t fours, const Int8Finish& to) {
  int32_t sums[M][kInt8Panel] = {};
  for (uint32_t i = 0; i < fours; ++i, a += 16, b += 4 * kInt8Panel)
    for (uint32_t m = 0; m < M; ++m)
      for (uint32_t j = 0; j < kInt8Panel; ++j)
        for (uint32_t k = 0; k < 4; ++k) sums[m][j] += int8_t(a[4 * m + k]) * int8_t(b[4 * j + k]);
  for (uint32_t m = 0; m < M; ++m)
    for (uint32_t j = 0; j < to.columns; ++j)
      to.d[m * to.ld + j] = float(sums[m][j]) * (to.a_scales[m] * to.b_scales[j]);
}
Int8Tile choose(uint32_t rows, uint32_t) {
  constexpr Int8Tile kTiles[] = {tile<1>, tile<2>, tile<3>, tile<4>};
  return kTiles[rows - 1];
}

}  // namespace

constinit const Int8Code int8_code_scalar = {
    4, 1, 0, 4, choose, int8_largest_of_rows, int8_pack_rows, int8_pack_rows, nullptr};

}  // namespace vibee
