// SPDX-License-Identifier: Apache-2.0
// How far long work is and how long it will take, on one line of standard error; nothing where that is no terminal.
#pragma once

#include <fmt/core.h>
#include <unistd.h>

#include <cstdio>
#include <string>

#include "vibee/core/measure/measure.h"

namespace vibee {

class ProgressLine {
 public:
  /// Counts are shown divided by `scale`, in `unit`.
  ProgressLine(std::string unit, double scale) : unit_(std::move(unit)), scale_(scale) {}
  /// `total` 0: not known.
  void show(uint64_t done, uint64_t total) {
    const double seconds = timer_.seconds();
    if (!terminal_ || (seconds - shown_ <= 0.1 && done != total)) return;
    shown_ = seconds;
    std::string line = fmt::format("\r\033[K{:.1f}", double(done) / scale_);
    if (total > 0) line += fmt::format(" of {:.1f}", double(total) / scale_);
    line += " " + unit_;
    if (done > 0 && done < total) line += fmt::format(", {:.0f} s left", double(total - done) * seconds / double(done));
    std::fputs(line.c_str(), stderr);
  }
  void clear() {
    if (terminal_) std::fputs("\r\033[K", stderr);
  }

 private:
  std::string unit_;
  double scale_, shown_ = -1;
  bool terminal_ = ::isatty(STDERR_FILENO);
  Timer timer_;
};

}  // namespace vibee
