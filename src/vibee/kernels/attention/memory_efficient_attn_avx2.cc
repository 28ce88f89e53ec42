// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/attention/fold.h"

namespace vibee {

VIBEE_ATTENTION(attend_f32_avx2, KvFormat::f32, 12)
VIBEE_ATTENTION(attend_f16_avx2, KvFormat::f16, 12)
VIBEE_ATTENTION(attend_q8_0_avx2, KvFormat::q8_0, 12)
VIBEE_ATTENTION(attend_int4_avx2, KvFormat::int4, 12)

}  // namespace vibee
