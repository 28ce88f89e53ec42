// SPDX-License-Identifier: Apache-2.0
// How a number that many small steps change lies in memory: a copy, which products read, and perhaps a rest, which
// keeps what the copy has no bits for. A step loads a block as floats, works on them and stores them, so rules know no
// forms and forms know no rules, and memory is passed over once.
//
//   f32           the number itself
//   bf16, f16     rounded to nearest, ties to even, by every step: an update below half a unit is lost
//   bf16_sr       rounded up with the probability of what would be cut off: the expected value is exact
//   bf16_kahan    with the rounding error of all steps so far, in bf16 (Kahan 1965; Zamirai et al., arXiv:2010.06192)
//   *_master      with the number itself in f32 (Micikevicius et al., arXiv:1710.03740)
//   bf16_split    with the lower half of the number in f32: bits = copy << 16 + half, the half signed, so the copy is
//                 rounded to nearest with ties away from zero; that of bf16_master is too, so both have the same bytes
#pragma once

#include <cstdint>
#include <iterator>
#include <span>
#include <string_view>

#include "vibee/base/random/rounding.h"
#include "vibee/base/simd/isa.h"
#include "vibee/formats/packed/format.h"

namespace vibee {

enum class WeightForm : uint8_t {
#define VIBEE_FORM(id, format, rest, name, random) id,
#include "vibee/kernels/update/forms.inc"
#undef VIBEE_FORM
};

/// Elements that a step holds as floats at once; what is loaded or stored begins at a multiple of 128.
inline constexpr uint64_t kUpdateBlock = 2048, kUpdateUnit = kRoundingUnit;

/// n elements; `copy` and `rest` are theirs.
using LoadForm = void (*)(const uint8_t* copy, const uint8_t* rest, uint64_t n, float* x);
using StoreForm = void (*)(const float* x, uint64_t n, const RoundingKey& key, uint8_t* copy, uint8_t* rest);
struct FormKernels {
  LoadForm load;
  StoreForm store;
};

struct WeightFormInfo {
  WeightForm form;
  std::string_view name;
  Format format;  ///< of the copy
  uint32_t rest_bytes;
  std::string_view rest_name;
  bool random;
  FormKernels kernels[std::size(kIsas)];  ///< one an instruction set, with the same bytes
  uint32_t copy_bytes() const { return format == Format::f32 ? 4 : 2; }
  bool in_place() const { return form == WeightForm::f32; }  ///< the copy is the floats
};

/// In the order of the enum.
std::span<const WeightFormInfo> weight_forms();
inline const WeightFormInfo& info(WeightForm form) { return weight_forms()[size_t(form)]; }

/// Elements in a form, where they lie.
struct FormElements {
  WeightForm form = WeightForm::f32;
  uint8_t *copy = nullptr, *rest = nullptr;
  FormElements from(uint64_t first) const {
    return {form, copy + first * info(form).copy_bytes(), rest + first * info(form).rest_bytes};
  }
  /// n floats: where they lie, or in `block`. They are what store() takes.
  float* load(Isa isa, uint64_t n, float* block) const;
  void store(Isa isa, const float* x, uint64_t n, const RoundingKey& key) const;
};

}  // namespace vibee
