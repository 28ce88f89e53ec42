// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/cli/train_comparison.h"

#include <algorithm>
#include <thread>

#include "vibee/app/cli/plan.h"
#include "vibee/app/jobs/rates_file.h"
#include "vibee/app/jobs/train_setup.h"
#include "vibee/base/memory/huge_buffer.h"
#include "vibee/core/measure/measure.h"

namespace vibee {

void TrainComparison::predict(const TrainConfig& config, const TrainRanks& ranks, bool measure) {
  tokens_ = double(config.batch) * config.length;
  const uint32_t cores = std::max(1u, std::thread::hardware_concurrency()),
                 threads = threads_at_once(config, ranks, cores);
  const auto rates = measure ? own_rates(threads, false) : kept_rates(threads);
  if (!rates.ok()) return;
  auto forecast = forecast_training(config, ranks, {cores, allowed_memory(config)}, *rates);
  if (!forecast.ok()) return;
  forecast_ = std::move(*forecast);
  reset_peak_resident_memory();
}

void TrainComparison::step(const TrainProgress& progress) {
  seconds_.push_back(tokens_ / std::max(progress.tokens_per_second, 1e-9));
}

std::string TrainComparison::peak_share() const {
  if (!forecast_ || seconds_.empty()) return {};
  return fmt::format(", {:.0f} % of peak", 100 * forecast_->flops / seconds_.back() / forecast_->peak_flops);
}

/// The median; the first step touches memory for the first time.
double TrainComparison::measured_seconds() const {
  return median({seconds_.begin() + (seconds_.size() > 1 ? 1 : 0), seconds_.end()});
}

std::string TrainComparison::line() const {
  if (seconds_.empty()) return {};
  const std::string measured = fmt::format("measured {:.4g} s a step (median), {} MiB at the peak", measured_seconds(),
                                           peak_resident_memory() >> 20);
  if (!forecast_) return measured;
  return fmt::format("predicted {:.4g} s a step, {} MiB at the peak; {}", forecast_->step_seconds,
                     forecast_->memory.sum() >> 20, measured);
}

void TrainComparison::add_to(JsonObject* json) const {
  if (forecast_) {
    json->number("predicted_step_seconds", forecast_->step_seconds)
        .number("predicted_peak_mib", double(forecast_->memory.sum()) / (1 << 20));
    if (!seconds_.empty()) json->number("peak_share", forecast_->flops / measured_seconds() / forecast_->peak_flops);
  }
  if (!seconds_.empty())
    json->number("measured_step_seconds", measured_seconds())
        .number("measured_peak_mib", double(peak_resident_memory()) / (1 << 20));
}

}  // namespace vibee
