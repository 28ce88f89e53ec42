// SPDX-License-Identifier: Apache-2.0
// The integer matmul in plain words: the rows that every faster kernel of the family equals byte for byte.
#include <cmath>
#include <utility>

#include "vibee/kernels/gemm/gemm.h"

namespace vibee {
namespace {

/// The contract in plain words; the panel is read by panel_block, so this also checks the packing.
void scalar_tile(Format format, const uint8_t* panel, uint32_t k, const uint8_t* group, uint32_t g, uint32_t row0,
                 uint32_t m, float* out) {
  const PackedWeight w{format, 16, k, 16, panel};
  for (uint32_t i = 0; i < m; ++i) {
    const ActRow row{const_cast<uint8_t*>(group), g, row0 + i};
    for (uint32_t n = 0; n < 16; ++n) {
      float acc = 0, row_scale = 0, factor = 1;
      int32_t row_sum = 0;
      for (uint32_t block = 0; block < k / 32; ++block) {
        const Block32 b = panel_block(w, n, block);
        const float da = *row.da(block);
        int32_t isum[2] = {0, 0}, qsum[2] = {0, 0};
        for (uint32_t j = 0; j < 32; ++j) {
          isum[j / 16] += b.sc[j / 16] * (int32_t(b.code[j]) - b.zero) * row.q(block)[j];
          qsum[j / 16] += b.mn[j / 16] * row.q(block)[j];
        }
        if (act_rule(format) == ActRule::row) {
          row_sum += isum[0] + isum[1];
          row_scale = b.dw[0];
        } else if (const uint32_t group = act_rule_group(act_rule(format)) / 32; group != 0) {
          row_sum += isum[0] + isum[1];
          if ((block + 1) % group == 0) acc = std::fma(float(std::exchange(row_sum, 0)) * b.dw[0], da, acc);
        } else if (b.split) {
          for (uint32_t h = 0; h < 2; ++h) acc = std::fma(float(isum[h]) * b.dw[h], da, acc);
        } else {
          acc = std::fma(float(isum[0] + isum[1]) * b.dw[0], da, acc);
        }
        if (b.has_min) acc = std::fma(b.mw, da * float(qsum[0] + qsum[1]), acc);
        factor = b.row_scale;
      }
      out[i * 16 + n] = act_rule(format) == ActRule::row ? float(row_sum) * row_scale * *row.da(0) : acc * factor;
    }
  }
}

}  // namespace

#define VIBEE_SCALAR(f)                                                                                      \
  void qgemm_##f##_scalar(const uint8_t* panel, uint32_t k, const uint8_t* group, uint32_t g, uint32_t row0, \
                          uint32_t m, float* out) {                                                          \
    scalar_tile(Format::f, panel, k, group, g, row0, m, out);                                                \
  }
VIBEE_SCALAR(q4_0)
VIBEE_SCALAR(q4_1)
VIBEE_SCALAR(q5_0)
VIBEE_SCALAR(q5_1)
VIBEE_SCALAR(q8_0)
VIBEE_SCALAR(q4_k)
VIBEE_SCALAR(q5_k)
VIBEE_SCALAR(q6_k)
VIBEE_SCALAR(q2_k)
VIBEE_SCALAR(q3_k)
VIBEE_SCALAR(iq4_nl)
VIBEE_SCALAR(iq4_xs)
VIBEE_SCALAR(tq1_0)
VIBEE_SCALAR(tq2_0)
VIBEE_SCALAR(mxfp4)
VIBEE_SCALAR(nvfp4)
VIBEE_SCALAR(nvfp4s)
VIBEE_SCALAR(i4z32)
VIBEE_SCALAR(i4z64)
VIBEE_SCALAR(i4z128)
VIBEE_SCALAR(i4m32)
VIBEE_SCALAR(i4m64)
VIBEE_SCALAR(i4m128)
VIBEE_SCALAR(i3m64)
VIBEE_SCALAR(i5m64)
VIBEE_SCALAR(i6m64)
VIBEE_SCALAR(i7m64)
VIBEE_SCALAR(i8m64)
VIBEE_SCALAR(i8s32)
VIBEE_SCALAR(i8s64)
VIBEE_SCALAR(i8s128)
VIBEE_SCALAR(qoq32)
VIBEE_SCALAR(qoq64)
VIBEE_SCALAR(qoq128)
VIBEE_SCALAR(i4a32)
VIBEE_SCALAR(i4a64)
VIBEE_SCALAR(i4a128)
VIBEE_SCALAR(atom32)
VIBEE_SCALAR(atom64)
VIBEE_SCALAR(atom128)
#undef VIBEE_SCALAR

}  // namespace vibee
