// SPDX-License-Identifier: Apache-2.0
// How a moment lies in memory between two steps. A step loads blocks as floats, lets the rule move them and stores
// them, as it does with weights (weight_form.h), so rules know no forms and forms know no rules.
//
//   f32                   the number itself
//   dynamic8              codes of the dynamic map (formats/codebook/dynamic8.h), and the largest magnitude of a block
//   unsigned_dynamic8     the same of numbers that are never negative (Dettmers et al., ICLR 2022, arXiv:2110.02861)
#pragma once

#include <cstdint>
#include <span>

#include "vibee/base/simd/isa.h"

namespace vibee {

enum class MomentForm : uint8_t {
#define VIBEE_MOMENT_FORM(id, bytes, scaled) id,
#include "vibee/kernels/update/moment_forms.inc"
#undef VIBEE_MOMENT_FORM
};

struct MomentFormInfo {
  MomentForm form;
  std::string_view name;
  uint32_t element_bytes;
  bool scaled;                                               ///< a float a block
  bool in_place() const { return form == MomentForm::f32; }  ///< the bytes are the floats
};

/// In the order of the enum.
std::span<const MomentFormInfo> moment_forms();
inline const MomentFormInfo& info(MomentForm form) { return moment_forms()[size_t(form)]; }

/// Elements of a block, a power of two: at most those that a step holds at once.
inline constexpr uint32_t kLeastMomentBlock = 64, kMostMomentBlock = 2048;

/// Elements in a form: those, and from the next multiple of 64 bytes on a scale a block.
struct MomentElements {
  MomentForm form = MomentForm::f32;
  uint32_t block = 256;
  uint8_t* elements = nullptr;
  float* scales = nullptr;

  /// Bytes of n elements; n zeros are zeros in every byte.
  static uint64_t bytes(MomentForm form, uint32_t block, uint64_t n);
  /// n elements at bytes.
  static MomentElements at(uint8_t* bytes, MomentForm form, uint32_t block, uint64_t n);
  /// From element `first` on, which begins a block.
  MomentElements from(uint64_t first) const;
  /// n floats: where they lie, or in `room`. They are what store() takes.
  float* load(Isa isa, uint64_t n, float* room) const;
  void store(Isa isa, const float* x, uint64_t n) const;
  /// Whether the scales of n elements are numbers that store() writes.
  bool plausible(uint64_t n) const;
};

}  // namespace vibee
