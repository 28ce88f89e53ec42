// SPDX-License-Identifier: Apache-2.0
// When pieces of work of a stream began and ended, by events between them: what a plan's profile and trace take of a
// device (graph/exec: a call's nanoseconds, and its begin and end).
#pragma once

#include <cstdint>
#include <vector>

#include "vibee/core/device/cuda_stream.h"

namespace vibee {

class KernelTimes {
 public:
  /// Makes the events of up to `most` pieces a step beforehand.
  static Result<KernelTimes> create(const std::shared_ptr<CudaDevice>& device, size_t most);
  /// A step begins here; what was recorded before is forgotten.
  Status begin(const CudaStream& stream);
  /// What the stream was given since the last mark is of `call`. Pieces above the most are counted, not timed.
  Status mark(const CudaStream& stream, uint32_t call);

  struct Piece {
    uint32_t call = 0;
    uint64_t begin = 0, end = 0;  ///< nanoseconds since begin(), of the device
  };
  /// Waits for the step and says its pieces in order.
  Result<std::vector<Piece>> collect();
  uint64_t untimed() const { return untimed_; }

 private:
  std::shared_ptr<CudaDevice> device_;
  std::vector<CudaEvent> events_;  ///< the first is the begin
  std::vector<uint32_t> calls_;
  uint64_t untimed_ = 0;
};

}  // namespace vibee
