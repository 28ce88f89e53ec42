// SPDX-License-Identifier: Apache-2.0
#include "vibee/train/precision/fp8_scaling.h"

#include <algorithm>
#include <cmath>

#include "vibee/formats/float/fp8_e5m2.h"

namespace vibee {

Fp8Scales::Fp8Scales(const Fp8Scaling& options, std::vector<OperandForm> forms)
    : options_(options), forms_(std::move(forms)) {
  if (!delayed()) return;
  state_.resize(forms_.size() * (1 + options_.history));
  largest_.resize(forms_.size());
}

void Fp8Scales::begin() { std::fill(largest_.begin(), largest_.end(), 0.0f); }

void Fp8Scales::step() {
  if (!delayed()) return;
  for (size_t i = 0; i < forms_.size(); ++i) {
    float* const history = state_.data() + forms_.size() + i * options_.history;  // the latest first
    std::copy_backward(history, history + options_.history - 1, history + options_.history);
    history[0] = largest_[i];
    const float most =
        options_.amax == Fp8Scaling::Amax::latest ? history[0] : *std::max_element(history, history + options_.history);
    if (most > 0 && std::isfinite(most)) state_[i] = fp8_scale(most, info(forms_[i]).to.largest, options_.margin);
  }
}

bool Fp8Scales::plausible() const {
  return std::all_of(state_.begin(), state_.end(), [](float x) { return x >= 0 && std::isfinite(x); });
}

}  // namespace vibee
