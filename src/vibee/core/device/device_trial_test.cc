// SPDX-License-Identifier: Apache-2.0
// What runs block tests on a device, on the driver of the host.
#include "vibee/kit/device_trial.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "vibee/base/math/half.h"
#include "vibee/core/device/probe_launch.h"
#include "vibee/kit/host_block_kernels.h"
#include "vibee/kit/temp_folder.h"
#include "vibee/kit/trial_device.h"

namespace vibee {
namespace {

TEST(DeviceTrial, RunsAKernelOverPinnedMemory) {
  TempFolder folder;
  const std::vector<std::byte> image = trial_fatbin({90});
  std::filesystem::create_directories(folder.path() + "/core/device");
  std::ofstream(folder.path() + "/core/device/any_cuda.fatbin", std::ios::binary)
      .write(reinterpret_cast<const char*>(image.data()), std::streamsize(image.size()));
  TrialDevice device({.find = find_host_function, .unified = true});
  {
    const auto trial = made(DeviceTrial::open(device.driver, folder.path()));
    EXPECT_FALSE(trial->launch("vibee_nothing", {}, nullptr).ok());
    constexpr uint32_t k = 16;
    auto* const a = static_cast<uint16_t*>(trial->allocate(16 * k * 2));
    auto* const b = static_cast<uint16_t*>(trial->allocate(k * 8 * 2));
    auto* const c = static_cast<float*>(trial->allocate(16 * 8 * 4));
    for (uint32_t i = 0; i < 16 * k; ++i) a[i] = float_to_bf16(float(i / k));
    for (uint32_t i = 0; i < k * 8; ++i) b[i] = float_to_bf16(float(i % 8));
    std::fill(c, c + 16 * 8, 0.0f);
    ProbeProductArgs args{a, b, c, k};
    const Status ran = trial->launch("vibee_probe_product_bf16", probe_product_launch(), &args);
    EXPECT_TRUE(ran.ok()) << ran.message();
    for (uint32_t i = 0; i < 16 * 8; ++i) EXPECT_EQ(c[i], float(k * (i / 8) * (i % 8))) << i;
    for (void* memory : {static_cast<void*>(a), static_cast<void*>(b), static_cast<void*>(c)}) trial->free(memory);
  }
  EXPECT_EQ(device.host.finish(), std::vector<std::string>{});
  EXPECT_FALSE(DeviceTrial::open(device.driver, folder.path() + "/none").ok());
}

}  // namespace
}  // namespace vibee
