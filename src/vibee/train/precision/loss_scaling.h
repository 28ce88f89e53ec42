// SPDX-License-Identifier: Apache-2.0
// The loss is multiplied by a power of two, so that small gradients survive 16 bits, and gradients are divided by it
// before they are used (Micikevicius et al., arXiv:1710.03740). The dynamic scale is that of NVIDIA Apex: it doubles
// behind `window` steps without an overflow, and a step whose gradients overflow changes nothing but the scale, which
// halves; with a hysteresis of n, as in Megatron-LM, from the n-th overflow on.
#pragma once

#include <cstdint>
#include <string_view>

#include "vibee/base/status/status.h"

namespace vibee {

struct LossScaling {
  enum class Kind : uint8_t { none, fixed, dynamic };
  Kind kind = Kind::none;
  double scale = 65536;  ///< the first one, or the one
  uint64_t window = 2000;
  uint32_t hysteresis = 1;
};
/// "none", "dynamic" or a number above 0; `to` keeps its window and hysteresis.
Status parse_loss_scale(std::string_view text, LossScaling* to);

class LossScaler {
 public:
  static constexpr double kLeast = 1, kMost = 1 << 24;
  static constexpr uint32_t kMostOverflows = 50;  ///< one behind the other, with a scale that cannot be smaller

  /// All of it, as a run's file keeps it.
  struct State {
    double scale = 1;
    uint64_t good = 0;        ///< steps since the scale changed
    uint32_t hysteresis = 1;  ///< overflows until the scale halves
    uint32_t overflows = 0;   ///< in a row, with the least scale
    bool operator==(const State&) const = default;
  };

  LossScaler() = default;
  explicit LossScaler(const LossScaling& options);
  double scale() const { return state_.scale; }
  /// Behind each step. All ranks see gradients of the same bytes, so they say the same.
  void step(bool finite);
  /// Nothing is left to try.
  bool exhausted() const { return state_.overflows >= kMostOverflows; }
  State& state() { return state_; }
  /// Of a file: whether step() could have led there.
  static bool plausible(const State& state);

 private:
  LossScaling options_;
  State state_;
};

}  // namespace vibee
