// SPDX-License-Identifier: Apache-2.0
// The progress of work that has several parts, each on a line of its own time.
#pragma once

#include <optional>

#include "vibee/app/cli/model_args.h"
#include "vibee/app/cli/progress_line.h"
#include "vibee/app/jobs/quantize.h"

namespace vibee {

class WorkLine {
 public:
  /// Shows what it is told; false once the user has interrupted.
  OnWork on_work() {
    return [this](const WorkProgress& p) {
      if (p.what != what_) {
        clear();
        what_ = p.what;
        // Fractions and windows are small numbers: the line counts thousandths.
        line_.emplace(std::string(p.unit) + (p.unit.empty() ? "" : " ") + "(" + what_ + ")", 1e3);
      }
      line_->show(uint64_t(1e3 * p.done), uint64_t(1e3 * p.total));
      return !interrupted();
    };
  }
  void clear() {
    if (line_) line_->clear();
  }

 private:
  std::string what_;
  std::optional<ProgressLine> line_;
};

}  // namespace vibee
