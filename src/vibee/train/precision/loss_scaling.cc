// SPDX-License-Identifier: Apache-2.0
#include "vibee/train/precision/loss_scaling.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "vibee/base/text/quote.h"

namespace vibee {

Status parse_loss_scale(std::string_view text, LossScaling* to) {
  if (text == "none") {
    to->kind = LossScaling::Kind::none;
    return {};
  }
  if (text == "dynamic") {
    to->kind = LossScaling::Kind::dynamic;
    return {};
  }
  double number = 0;
  const auto [end, wrong] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (wrong != std::errc() || end != text.data() + text.size() || !(number >= 0x1p-24 && number <= 0x1p60))
    return error(Code::invalid, "{}; none, dynamic or a number, best a power of two, is asked for", quote(text, 40));
  to->kind = LossScaling::Kind::fixed;
  to->scale = number;
  return {};
}

LossScaler::LossScaler(const LossScaling& options) : options_(options) {
  if (options.kind != LossScaling::Kind::none) state_.scale = options.scale;
  state_.hysteresis = options.hysteresis;
}

void LossScaler::step(bool finite) {
  const bool dynamic = options_.kind == LossScaling::Kind::dynamic;
  if (!finite) {
    state_.overflows = !dynamic || state_.scale <= kLeast ? state_.overflows + 1 : 0;
    state_.good = 0;
    if (!dynamic) return;
    if (state_.hysteresis > 0) --state_.hysteresis;
    if (state_.hysteresis == 0) state_.scale = std::max(state_.scale / 2, kLeast);
    return;
  }
  state_.overflows = 0;
  if (!dynamic || ++state_.good < options_.window) return;
  state_.scale = std::min(2 * state_.scale, kMost);
  state_.good = 0;
  state_.hysteresis = options_.hysteresis;
}

bool LossScaler::plausible(const State& state) {
  return std::isfinite(state.scale) && state.scale > 0 && state.overflows <= kMostOverflows;
}

}  // namespace vibee
