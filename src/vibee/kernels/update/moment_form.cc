// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/update/moment_form.h"

#include <algorithm>
#include <cfloat>

#include "vibee/base/memory/checked.h"
#include "vibee/formats/codebook/dynamic8.h"

namespace vibee {
namespace {

const Dynamic8Map& map_of(MomentForm form) { return dynamic8_map(form == MomentForm::dynamic8); }
uint64_t blocks(uint32_t block, uint64_t n) { return (n + block - 1) / block; }

}  // namespace

std::span<const MomentFormInfo> moment_forms() {
  static constexpr MomentFormInfo kForms[] = {
#define VIBEE_MOMENT_FORM(id, bytes, scaled) {MomentForm::id, #id, bytes, scaled},
#include "vibee/kernels/update/moment_forms.inc"
#undef VIBEE_MOMENT_FORM
  };
  return kForms;
}

uint64_t MomentElements::bytes(MomentForm form, uint32_t block, uint64_t n) {
  const MomentFormInfo& f = info(form);
  return round_up(n * f.element_bytes, 64) + (f.scaled ? round_up(4 * blocks(block, n), 64) : 0);
}

MomentElements MomentElements::at(uint8_t* bytes, MomentForm form, uint32_t block, uint64_t n) {
  return {form, block, bytes, reinterpret_cast<float*>(bytes + round_up(n * info(form).element_bytes, 64))};
}

MomentElements MomentElements::from(uint64_t first) const {
  return {form, block, elements + first * info(form).element_bytes, scales + first / block};
}

float* MomentElements::load(Isa isa, uint64_t n, float* room) const {
  if (info(form).in_place()) return reinterpret_cast<float*>(elements);
  const DecodeDynamic8 decode = dynamic8_kernels(isa).decode;
  for (uint64_t at = 0; at < n; at += block)
    decode(map_of(form), elements + at, scales[at / block], std::min<uint64_t>(block, n - at), room + at);
  return room;
}

void MomentElements::store(Isa isa, const float* x, uint64_t n) const {
  if (info(form).in_place()) return;  // x is where they lie
  const EncodeDynamic8 encode = dynamic8_kernels(isa).encode;
  for (uint64_t at = 0; at < n; at += block)
    scales[at / block] = encode(map_of(form), x + at, std::min<uint64_t>(block, n - at), elements + at);
}

bool MomentElements::plausible(uint64_t n) const {
  return !info(form).scaled ||
         std::all_of(scales, scales + blocks(block, n), [](float s) { return s >= 0 && s <= FLT_MAX; });
}

}  // namespace vibee
