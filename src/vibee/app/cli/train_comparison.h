// SPDX-License-Identifier: Apache-2.0
// What a run of training was predicted to take beside what it takes: seconds of a step, peak of the process.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "vibee/app/jobs/train.h"
#include "vibee/app/jobs/train_forecast.h"
#include "vibee/base/text/json_object.h"

namespace vibee {

class TrainComparison {
 public:
  /// Before the run, whose peak counts from here on. A prediction that fails is none; the run says what is wrong.
  /// `measure`: rates may be measured, where none are kept.
  void predict(const TrainConfig& config, const TrainRanks& ranks, bool measure);
  /// After a step.
  void step(const TrainProgress& progress);
  /// ", 85 % of peak" of the step before; empty without a prediction.
  std::string peak_share() const;

  /// One line, empty before the first step.
  std::string line() const;
  void add_to(JsonObject* json) const;

 private:
  double measured_seconds() const;
  std::optional<TrainForecast> forecast_;
  double tokens_ = 0;
  std::vector<double> seconds_;  ///< of each step
};

}  // namespace vibee
