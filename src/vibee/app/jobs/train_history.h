// SPDX-License-Identifier: Apache-2.0
// What a run of training wrote of itself (metrics.jsonl), over all its resumes, and the page that shows it.
#pragma once

#include <string>
#include <vector>

#include "vibee/base/status/status.h"

namespace vibee {

struct TrainHistory {
  struct Step {
    uint64_t step;
    double loss, norm, rate, tokens_per_second;
  };
  struct HeldOut {
    uint64_t step;
    double loss;
  };
  struct Sample {
    uint64_t step;
    std::string prompt, text;
  };
  /// A step whose update was left out, and why.
  struct Skipped {
    uint64_t step;
    std::string why;
  };
  std::vector<Step> steps;
  std::vector<HeldOut> held_out;
  std::vector<Sample> samples;
  std::vector<Skipped> skipped;
};

/// Where a run went on from a checkpoint, what had been behind that does not count. A last line that was cut short by
/// the end of a process is passed over; another damaged line is an error that names it.
Result<TrainHistory> read_history(const std::string& path);

/// A page with curves and samples; `facts` stands above them.
std::string train_html(const std::string& title, const std::string& facts, const TrainHistory& history);

}  // namespace vibee
