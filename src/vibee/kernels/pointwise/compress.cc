// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/pointwise/compress.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace vibee {
namespace {

/// The nearest bf16 at or below x.
double bf16_below(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  const bool cut = bits & 0xffff;
  bits = (bits & 0xffff0000u) + (cut && x < 0 ? 0x10000u : 0u);
  std::memcpy(&x, &bits, 4);
  return x;
}

}  // namespace

const CompressKernels& compress_kernels(Isa isa) {
  return isa >= Isa::avx512 ? compress_kernels_avx512
         : isa == Isa::avx2 ? compress_kernels_avx2
                            : compress_kernels_scalar;
}

void compress_reference(float* x, uint32_t n, uint32_t bits, const RoundingKey& key) {
  const double levels = (1u << bits) - 1;
  for (uint32_t at = 0; at < n; at += kCompressGroup) {
    const uint32_t count = std::min(kCompressGroup, n - at);
    float* const g = x + at;
    const bool finite = std::all_of(g, g + count, [](float v) { return std::isfinite(v); });
    const double low = bf16_below(*std::min_element(g, g + count)),
                 high = -bf16_below(-*std::max_element(g, g + count));
    const double range = high - low;
    for (uint32_t i = 0; i < count; ++i) {
      if (!finite || !std::isfinite(float(range))) {
        g[i] = NAN;
        continue;
      }
      const double r = ((rounding_bits(key, key.element + at + i) >> 1) + 0.5) / 32768;
      const double u = range > 0 ? std::min(levels, std::floor((g[i] - low) * levels / range + r)) : 0;
      g[i] = float(low + u * range / levels);
    }
  }
}

}  // namespace vibee
