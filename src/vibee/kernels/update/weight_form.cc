// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/update/weight_form.h"

namespace vibee {

extern const FormKernels form_kernels_scalar[], form_kernels_avx2[], form_kernels_avx512[];

std::span<const WeightFormInfo> weight_forms() {
  static const WeightFormInfo kForms[] = {
#define VIBEE_FORM(id, format, rest, name, random)                                          \
  {WeightForm::id,                                                                          \
   #id,                                                                                     \
   Format::format,                                                                          \
   rest,                                                                                    \
   name,                                                                                    \
   random,                                                                                  \
   {form_kernels_scalar[size_t(WeightForm::id)], form_kernels_avx2[size_t(WeightForm::id)], \
    form_kernels_avx512[size_t(WeightForm::id)], form_kernels_avx512[size_t(WeightForm::id)]}},
#include "vibee/kernels/update/forms.inc"
#undef VIBEE_FORM
  };
  return kForms;
}

float* FormElements::load(Isa isa, uint64_t n, float* block) const {
  const WeightFormInfo& f = info(form);
  if (f.in_place()) return reinterpret_cast<float*>(copy);
  f.kernels[size_t(isa)].load(copy, rest, n, block);
  return block;
}

void FormElements::store(Isa isa, const float* x, uint64_t n, const RoundingKey& key) const {
  const WeightFormInfo& f = info(form);
  if (!f.in_place() || x != reinterpret_cast<const float*>(copy)) f.kernels[size_t(isa)].store(x, n, key, copy, rest);
}

}  // namespace vibee
