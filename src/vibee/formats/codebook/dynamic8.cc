// SPDX-License-Identifier: Apache-2.0
#include "vibee/formats/codebook/dynamic8.h"

#include <algorithm>
#include <cmath>
#include <iterator>

namespace vibee {
namespace {

constexpr uint32_t kDecades = 7;
constexpr float kTens[kDecades] = {1e-6f, 1e-5f, 1e-4f, 1e-3f, 1e-2f, 1e-1f, 1.0f};  // where they end

/// torch.linspace(0.1, 1, n) in f32 on a CPU with fused multiply-adds: from both ends to the middle.
float boundary(uint32_t i, uint32_t n) {
  const float first = 0.1f, last = 1.0f, step = (last - first) / float(n - 1);
  return i < n / 2 ? std::fma(step, float(i), first) : std::fma(-step, float(n - 1 - i), last);
}

Dynamic8Map make_map(bool is_signed) {
  Dynamic8Map map = {};
  map.zero = is_signed ? 127 : 0;
  const auto bins = [&](uint32_t decade) { return (is_signed ? 1u : 2u) << decade; };
  float* value = map.values;
  for (uint32_t k = 0; k < kDecades; ++k)
    for (uint32_t i = 0; i < bins(k); ++i) {
      const float mean = (boundary(i, bins(k) + 1) + boundary(i + 1, bins(k) + 1)) / 2.0f;
      *value++ = kTens[k] * mean;
      if (is_signed) *value++ = -kTens[k] * mean;
    }
  *value++ = 0.0f;
  *value++ = 1.0f;
  std::sort(map.values, value);
  for (size_t i = 0; i < 255; ++i) map.bounds[i] = (map.values[i] + map.values[i + 1]) / 2.0f;

  // A decade of one value has no bounds inside, nor has 0: half a step keeps them free of doubt.
  Dynamic8Decades& d = map.decades;
  const auto at = [&](uint32_t index, double scale, double offset, double first, double last) {
    d.scale[index] = float(scale), d.offset[index] = float(offset);
    d.least[index] = float(first + 0.25), d.most[index] = float(last + 0.5);
  };
  at(0, 0, 0.5, 0, 0);
  uint32_t first = 1;  // position
  for (uint32_t k = 0; k < kDecades; ++k) {
    const double n = bins(k);
    d.ends[k] = map.bounds[uint32_t(map.zero) + first - 1];
    at(k + 1, n > 1 ? n / 0.9 / std::pow(10.0, double(k) - 6) : 0, n > 1 ? first - n / 9 : first + 0.5, first,
       first + n - 1);
    first += bins(k);
  }
  d.ends[kDecades] = map.bounds[uint32_t(map.zero) + first - 1];  // what is above is 1
  return map;
}

}  // namespace

const Dynamic8Map& dynamic8_map(bool is_signed) {
  static const Dynamic8Map kSigned = make_map(true), kUnsigned = make_map(false);
  return is_signed ? kSigned : kUnsigned;
}

uint8_t dynamic8_code(const Dynamic8Map& map, float x) {
  if (std::isnan(x)) return uint8_t(map.zero);
  return uint8_t(std::lower_bound(map.bounds, map.bounds + 255, x) - map.bounds);
}

extern const Dynamic8Kernels dynamic8_kernels_scalar, dynamic8_kernels_avx2, dynamic8_kernels_avx512;

const Dynamic8Kernels& dynamic8_kernels(Isa isa) {
  const Dynamic8Kernels* const kernels[] = {&dynamic8_kernels_scalar, &dynamic8_kernels_avx2, &dynamic8_kernels_avx512,
                                            &dynamic8_kernels_avx512};
  static_assert(std::size(kernels) == std::size(kIsas));
  return *kernels[size_t(isa)];
}

}  // namespace vibee
