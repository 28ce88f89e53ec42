// SPDX-License-Identifier: Apache-2.0
#include "vibee/formats/codebook/dynamic8_block.h"

namespace vibee {
namespace {

/// The entry of each lane's decade.
V16 entries(const float* eight, __m512i decade) {
  return _mm512_permutexvar_ps(decade, _mm512_castps256_ps512(_mm256_loadu_ps(eight)));
}

void encode16(const Dynamic8Map& map, V16 x, uint8_t* codes) {
  const Dynamic8Decades& d = map.decades;
  const __m512i bits = _mm512_castps_si512(x);
  const __mmask16 negative = _mm512_movepi32_mask(bits);
  const V16 magnitude = _mm512_min_ps(_mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, x, _CMP_ORD_Q), v_abs(x)), v_set(2));
  // Of two values as near, the lower is the larger magnitude on the negative side: that of the next number decides.
  const __m512i up = _mm512_castps_si512(magnitude);
  const V16 a = _mm512_castsi512_ps(_mm512_mask_add_epi32(up, negative, up, _mm512_set1_epi32(1)));
  __m512i decade = _mm512_setzero_si512();
  for (int k = 0; k < 7; ++k)
    decade = _mm512_mask_add_epi32(decade, _mm512_cmp_ps_mask(a, v_set(d.ends[k]), _CMP_GT_OQ), decade,
                                   _mm512_set1_epi32(1));
  const V16 at = v_min(v_max(v_fma(a, entries(d.scale, decade), entries(d.offset, decade)), entries(d.least, decade)),
                       entries(d.most, decade));
  const __mmask16 doubt = v_less(v_abs(at - v_round(at)), v_set(kDynamic8Doubt));
  __m512i position = _mm512_cvttps_epi32(at);
  position = _mm512_mask_add_epi32(position, _mm512_cmp_ps_mask(a, v_set(d.ends[7]), _CMP_GT_OQ), position,
                                   _mm512_set1_epi32(1));
  const __m512i zero = _mm512_set1_epi32(map.zero);
  __m512i code = _mm512_add_epi32(zero, position);
  code = _mm512_mask_sub_epi32(code, negative, zero, _mm512_min_epi32(position, zero));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(codes), _mm512_cvtepi32_epi8(code));
  settle(map, x, doubt, codes);
}

}  // namespace

extern const Dynamic8Kernels dynamic8_kernels_avx512;
constinit const Dynamic8Kernels dynamic8_kernels_avx512 = {encode_block<encode16>, decode_block};

}  // namespace vibee
