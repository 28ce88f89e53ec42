// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/update/weight_form.h"

namespace vibee {

extern const FormKernels form_kernels_scalar[], form_kernels_avx2[], form_kernels_avx512[];

std::span<const WeightFormInfo> weight_forms() {
  static const WeightFormInfo kForms[] = {
#define VIBEE_FORM(id, format, rest, name, random)                                               \
  {WeightForm::id,                                                                               \
   #id,                                                                                          \
   Format::format,                                                                               \
   rest,                                                                                         \
   name,                                                                                         \
   random,                                                                                       \
   {form_kernels_scalar[size_t(WeightForm::id)], form_kernels_avx2[size_t(WeightForm::id)],      \
    form_kernels_avx512[size_t(WeightForm::id)]}},
#include "vibee/kernels/update/forms.inc"
#undef VIBEE_FORM
  };
  return kForms;
}

uint16_t rounding_bits(const RoundingKey& key, uint64_t i) {
  const uint64_t group = i / kUpdateUnit, at = i % kUpdateUnit;
  const uint64_t index = (uint64_t(key.array) << 44 | uint64_t(uint32_t(key.step >> 32)) << 40) + 16 * group + at % 16;
  const uint32_t word = philox(key.seed, key.purpose, uint32_t(key.step), index)[at / 32];
  return uint16_t(word >> (at / 16 % 2 * 16));
}

}  // namespace vibee
