// SPDX-License-Identifier: Apache-2.0
// Scales of operands in 8-bit floats that follow what they were like in the steps before (delayed scaling of NVIDIA
// Transformer Engine, common/recipe/delayed_scaling.cu; Micikevicius et al., arXiv:2209.05433). An operand is rounded
// with its scale while its largest size is measured, over all parts and ranks of the step. Behind the step that goes
// into a history of the last `history` steps, and the scale becomes largest code * 2^-margin / the largest of the
// history (or the latest); one that is zero or not finite leaves the scale as it is. Before there is a history the
// scale is that of the operand itself, which also is `current` scaling.
#pragma once

#include <span>
#include <vector>

#include "vibee/base/status/status.h"
#include "vibee/kernels/gemm/operand_form.h"

namespace vibee {

struct Fp8Scaling {
  enum class Kind : uint8_t { delayed, current };
  enum class Amax : uint8_t { most, latest };
  Kind kind = Kind::delayed;
  uint32_t history = 1024;  ///< steps
  int margin = 0;           ///< bits that are left free above
  Amax amax = Amax::most;   ///< of the history
  bool operator==(const Fp8Scaling&) const = default;
};

class Fp8Scales {
 public:
  Fp8Scales() = default;
  Fp8Scales(const Fp8Scaling& options, std::vector<OperandForm> forms);
  bool delayed() const { return !forms_.empty() && options_.kind == Fp8Scaling::Kind::delayed; }
  /// One an operand; 0 while it has none.
  std::span<const float> scales() const {
    return delayed() ? std::span<const float>(state_).first(forms_.size()) : std::span<const float>();
  }
  /// Where a step's largest sizes are gathered.
  std::span<float> largest() { return largest_; }
  /// Before a step.
  void begin();
  /// Behind a step that was made, with the largest of all ranks.
  void step();
  /// All that steps change, as a run's file keeps it: scales, then histories, operand by operand.
  std::span<float> state() { return state_; }
  /// Of a file: whether step() could have led there.
  bool plausible() const;

 private:
  Fp8Scaling options_;
  std::vector<OperandForm> forms_;
  std::vector<float> state_, largest_;
};

}  // namespace vibee
