// SPDX-License-Identifier: Apache-2.0
// What the executor adds to its kernels: barriers, calls and waiting, in a model so small that they show.
#pragma once

#include "vibee/base/simd/isa.h"
#include "vibee/base/status/status.h"

namespace vibee {

/// At most this much a layer and token is the executor's own (design: "Executor").
inline constexpr double kOverheadBound = 10;

struct ExecutorOverhead {
  double overhead_us = 0;  ///< wall time less kernel time, a layer and token: median over the steps
  double quiet_us =
      0;  ///< the same for the best tenth of the steps: what is left when other programs leave the cores alone
  double step_us = 0;    ///< wall time of a step, median
  double kernel_us = 0;  ///< of it in calls: for each call the slowest thread; median
  uint32_t layers = 0, calls = 0, regions = 0;
};

/// Decode steps of a Llama-shaped graph of five layers, 64 wide. Reading the clock around every call is part of what is
/// reported.
Result<ExecutorOverhead> executor_overhead(uint32_t threads, uint32_t steps, Isa isa);

}  // namespace vibee
