// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/update/form_kernels.h"

namespace vibee {

extern const FormKernels form_kernels_avx512[];
constinit const FormKernels form_kernels_avx512[] = {
#define VIBEE_FORM(id, format, rest, name, random) {load_##id, store_##id},
#include "vibee/kernels/update/forms.inc"
#undef VIBEE_FORM
};

}  // namespace vibee
