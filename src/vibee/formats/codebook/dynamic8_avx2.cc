// SPDX-License-Identifier: Apache-2.0
#include "vibee/formats/codebook/dynamic8_block.h"

namespace vibee {
namespace {

/// Codes of eight numbers, and in which lanes they are in doubt.
__m256i codes_of(const Dynamic8Map& map, __m256 x, uint32_t* doubt) {
  const Dynamic8Decades& d = map.decades;
  const __m256i bits = _mm256_castps_si256(x), negative = _mm256_srai_epi32(bits, 31);
  // Of two values as near, the lower is the larger magnitude on the negative side: that of the next number decides.
  const __m256 number = _mm256_and_ps(x, _mm256_cmp_ps(x, x, _CMP_ORD_Q));
  const __m256 magnitude =
      _mm256_min_ps(_mm256_and_ps(number, _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff))), _mm256_set1_ps(2));
  const __m256 a = _mm256_castsi256_ps(_mm256_sub_epi32(_mm256_castps_si256(magnitude), negative));
  __m256i decade = _mm256_setzero_si256();
  for (int k = 0; k < 7; ++k) {
    const __m256 above = _mm256_cmp_ps(a, _mm256_set1_ps(d.ends[k]), _CMP_GT_OQ);
    decade = _mm256_sub_epi32(decade, _mm256_castps_si256(above));
  }
  const __m256i one = _mm256_castps_si256(_mm256_cmp_ps(a, _mm256_set1_ps(d.ends[7]), _CMP_GT_OQ));
  const __m256 scale = _mm256_permutevar8x32_ps(_mm256_loadu_ps(d.scale), decade);
  const __m256 offset = _mm256_permutevar8x32_ps(_mm256_loadu_ps(d.offset), decade);
  const __m256 least = _mm256_permutevar8x32_ps(_mm256_loadu_ps(d.least), decade);
  const __m256 most = _mm256_permutevar8x32_ps(_mm256_loadu_ps(d.most), decade);
  const __m256 at = _mm256_min_ps(_mm256_max_ps(_mm256_fmadd_ps(a, scale, offset), least), most);
  const __m256 off = _mm256_sub_ps(at, _mm256_round_ps(at, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  const __m256 far = _mm256_and_ps(off, _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff)));
  *doubt = uint32_t(_mm256_movemask_ps(_mm256_cmp_ps(far, _mm256_set1_ps(kDynamic8Doubt), _CMP_LT_OQ)));
  const __m256i position = _mm256_sub_epi32(_mm256_cvttps_epi32(at), one);
  const __m256i limit = _mm256_blendv_epi8(_mm256_set1_epi32(255), _mm256_set1_epi32(map.zero), negative);
  const __m256i kept = _mm256_min_epi32(position, limit);
  return _mm256_add_epi32(_mm256_set1_epi32(map.zero), _mm256_sub_epi32(_mm256_xor_si256(kept, negative), negative));
}

void encode16(const Dynamic8Map& map, V16 x, uint8_t* codes) {
  uint32_t doubt[2];
  const __m256i lo = codes_of(map, x.lo, &doubt[0]), hi = codes_of(map, x.hi, &doubt[1]);
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packus_epi32(lo, hi), 0xd8);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(codes),
                   _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
  settle(map, x, uint32_t(doubt[0] | doubt[1] << 8), codes);
}

}  // namespace

extern const Dynamic8Kernels dynamic8_kernels_avx2;
constinit const Dynamic8Kernels dynamic8_kernels_avx2 = {encode_block<encode16>, decode_block};

}  // namespace vibee
