// SPDX-License-Identifier: Apache-2.0
// What a step changes, as a run's file keeps it, and weights as numbers.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "vibee/base/memory/checked.h"
#include "vibee/train/loop/train_step.h"
#include "vibee/train/precision/bnb_optimization.h"

namespace vibee {

std::vector<StatePart> TrainStep::state() {
  std::vector<StatePart> parts = {{"weights", {values_.data(), memory_.weights}}};
  for (const Weight& w : weights_)
    if (const WeightFormInfo& form = info(w.form); form.rest_bytes > 0) {
      parts.push_back({form.rest_name, {rests_.data(), memory_.rests}});
      break;  // all matrices have one form
    }
  for (uint32_t m = 0; m < info(options_.optimiser.rule).moments(options_.optimiser); ++m)
    parts.push_back(moments_->part(m, moment_names_[m]));
  parts.push_back({"norms", {reinterpret_cast<uint8_t*>(&norms_), sizeof norms_}});
  if (options_.precision.loss_scale.kind != LossScaling::Kind::none)
    parts.push_back({"loss scale", {reinterpret_cast<uint8_t*>(&scaler_.state()), sizeof(LossScaler::State)}});
  if (const std::span<float> scales = scales_.state(); !scales.empty())
    parts.push_back({scale_name_, {reinterpret_cast<uint8_t*>(scales.data()), scales.size_bytes()}});
  return parts;
}

Status TrainStep::resume(uint64_t steps) {
  if (!LossScaler::plausible(scaler_.state())) return error(Code::corrupt, "its loss scale is {}", scaler_.scale());
  if (!scales_.plausible()) return error(Code::corrupt, "a scale of products is no number of a run");
  if (!(norms_.mean >= 0) || !std::isfinite(norms_.mean))
    return error(Code::corrupt, "its mean norm is {}", norms_.mean);
  std::vector<uint8_t> copy(2 * kUpdateBlock), rest(4 * kUpdateBlock);
  float block[kUpdateBlock];
  for (const uint32_t i : trained_) {
    const Weight& w = weights_[i];
    if (w.form != WeightForm::bf16_master && w.form != WeightForm::f16_master) continue;
    for (uint64_t at = 0; at < w.count; at += kUpdateBlock) {
      const uint64_t n = std::min(kUpdateBlock, w.count - at);
      const FormElements there = elements(w).from(at);
      FormElements{w.form, copy.data(), rest.data()}.store(options_.isa, there.load(options_.isa, n, block), n, {});
      if (std::memcmp(copy.data(), there.copy, 2 * n) != 0)
        return error(Code::corrupt, "the master of '{}' and its copy in 16 bits disagree", w.name);
    }
  }
  std::vector<uint8_t> room;
  for (const StatePart& part : state()) {
    const auto m = size_t(std::find(moment_names_, moment_names_ + kMostMoments, part.name) - moment_names_);
    if (m == kMostMoments) continue;
    for (const uint32_t i : trained_) {
      const Weight& w = weights_[i];
      if (!w.narrow_moments) continue;
      VIBEE_ASSIGN(
          const auto bytes,
          part.slice(w.moment_at, moment_bytes(options_.precision, options_.optimiser.rule, true, w.count), &room));
      if (!moment(w, uint32_t(m), bytes.data()).plausible(w.count))
        return error(Code::corrupt, "a scale of the {} of '{}' is no number of a run", part.name, w.name);
    }
  }
  steps_ = steps;
  ++weights_version_;
  return {};
}

void TrainStep::read(const Weight& weight, uint64_t first, std::span<float> out) const {
  VIBEE_CHECK(weight.trained || weight.format == Format::f32, "{}", weight.name);
  if (!weight.trained) {
    std::memcpy(out.data(), frozen_.data() + weight.at + 4 * first, out.size_bytes());
    return;
  }
  const float* x = elements(weight).from(first).load(options_.isa, out.size(), out.data());
  if (x != out.data()) std::memcpy(out.data(), x, out.size_bytes());
}

std::vector<float> TrainStep::values(const Weight& weight) const {
  std::vector<float> all(weight.count);
  read(weight, 0, all);
  return all;
}

}  // namespace vibee
