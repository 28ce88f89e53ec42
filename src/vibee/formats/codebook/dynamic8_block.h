// SPDX-License-Identifier: Apache-2.0
// A block of the dynamic map around the codes of sixteen numbers, which each dynamic8_<isa>.cc has its way to find.
#pragma once

#include <cfloat>
#include <cstring>

#include "vibee/base/simd/v16.h"
#include "vibee/formats/codebook/dynamic8.h"

namespace vibee {
namespace {

/// The codes of lanes in doubt, of bits `rest`, by the definition.
inline void settle(const Dynamic8Map& map, V16 x, uint32_t rest, uint8_t* codes) {
  if (rest == 0) return;
  float numbers[16];
  v_store(numbers, x);
  for (; rest != 0; rest &= rest - 1) {
    const int i = __builtin_ctz(rest);
    codes[i] = dynamic8_code(map, numbers[i]);
  }
}

inline void decode_block(const Dynamic8Map& map, const uint8_t* codes, float largest, uint64_t n, float* x) {
  for (uint64_t i = 0; i < n; ++i) x[i] = map.values[codes[i]] * largest;
}

template <void encode16(const Dynamic8Map&, V16, uint8_t*)>
float encode_block(const Dynamic8Map& map, const float* x, uint64_t n, uint8_t* codes) {
  V16 most = v_zero();
  for (uint64_t i = 0; i < n; i += 16) most = v_max(v_abs(v_load_n(x + i, n - i < 16 ? int(n - i) : 16)), most);
  const float found = v_hmax(most), largest = found < kLeastDynamic8 ? 0.0f : found < FLT_MAX ? found : FLT_MAX;
  if (largest == 0) {
    std::memset(codes, map.zero, n);
    return 0;
  }
  const V16 scale = v_set(1 / largest);
  uint64_t i = 0;
  for (; i + 16 <= n; i += 16) encode16(map, v_load(x + i) * scale, codes + i);
  uint8_t last[16];
  encode16(map, v_load_n(x + i, int(n - i)) * scale, last);
  std::memcpy(codes + i, last, n - i);
  return largest;
}

}  // namespace
}  // namespace vibee
