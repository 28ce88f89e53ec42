// SPDX-License-Identifier: Apache-2.0
#include "vibee/core/measure/copy_rates.h"

#include <gtest/gtest.h>

#include "vibee/kit/trial_device.h"

namespace vibee {
namespace {

TEST(CopyRates, AreBytesByTimeOfTheDevice) {
  TrialDevice trial;
  {
    const auto rates = copy_rates(made(trial.open()), 8000, 3);
    ASSERT_TRUE(rates.ok()) << rates.status().message();
    // The clock of the host's driver: a microsecond a copy and one for the event behind it.
    EXPECT_NEAR(rates->to_device, 8000 / 2e-6 / 1e9, 0.01);
    EXPECT_NEAR(rates->to_host, 8000 / 2e-6 / 1e9, 0.01);
    EXPECT_EQ(copy_rates(made(trial.open()), size_t(65) << 20, 1).status().code(), Code::no_memory);
  }
  for (uint64_t n = 1;; ++n) {
    const auto device = made(trial.open());
    trial.host.fail(n, CudaResult::invalid_handle);
    const bool ok = copy_rates(device, 100, 1).ok(), gave_back = device->release_error().ok();
    if (trial.host.failed().empty()) break;
    EXPECT_FALSE(ok && gave_back) << trial.host.failed();
    ASSERT_LT(n, 200u);
  }
  trial.host.fail(0, CudaResult::success);
  EXPECT_EQ(trial.host.finish(), std::vector<std::string>{});
}

}  // namespace
}  // namespace vibee
