// SPDX-License-Identifier: Apache-2.0
// How far a session is, for a thread that watches: whether something goes on, and how long a step like the present one
// may take. Written by the thread that steps, read by any.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <cstdint>

namespace vibee {

class StepWatch {
 public:
  void begin(uint32_t rows) {
    begun_ = std::chrono::steady_clock::now();
    rows_ = rows;
    ++progress_;
  }
  void end() {
    const std::chrono::duration<float> took = std::chrono::steady_clock::now() - begun_;
    std::atomic<float>& slowest = slowest_[size_t(std::bit_width(rows_.load()))];
    slowest = std::max(slowest.load(), took.count());
    rows_ = 0;
    ++progress_;
  }

  /// Grows whenever a step begins or ends.
  uint64_t progress() const { return progress_; }
  /// Seconds within which the present step ends, ten times over: ten times the slowest of its size so far, but at least
  /// five. Before any step has ended a minute.
  double allowed_s() const {
    double expected = 0;
    for (size_t i = 0; i <= size_t(std::bit_width(rows_.load())); ++i)
      expected = slowest_[i] > 0 ? double(slowest_[i]) : 2 * expected;  // twice as many rows as the sizes before
    return expected > 0 ? std::max(5.0, 10 * expected) : progress_ > 1 ? 5.0 : 60.0;
  }

 private:
  std::atomic<uint64_t> progress_ = 0;
  std::atomic<uint32_t> rows_ = 0;                   ///< of the step under way
  std::array<std::atomic<float>, 33> slowest_ = {};  ///< seconds, by bit width of the rows
  std::chrono::steady_clock::time_point begun_;
};

}  // namespace vibee
