// SPDX-License-Identifier: Apache-2.0
// Any bytes as a book of measurements: whatever is read from it is a time.
#include <cmath>
#include <cstdlib>

#include "vibee/hw/cost/records.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace vibee;
  const Records records = Records::parse({reinterpret_cast<const char*>(data), size}, "cpu");
  const std::optional<double> seconds = records.seconds("gemm", "ours");
  if (seconds && !(std::isfinite(*seconds) && *seconds > 0)) std::abort();
  return 0;
}
