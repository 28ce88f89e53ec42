// SPDX-License-Identifier: Apache-2.0
// A device of the host's driver whose kernels are all block kernels under the shim, as what a model runs on; where
// VIBEE_TEST_DEVICE is set (kit/device_trial.h) a real one.
#pragma once

#include <cstdlib>

#include "vibee/graph/device/device_runtime.h"
#include "vibee/graph/device/kernel_images.h"
#include "vibee/kit/host_block_kernels.h"
#include "vibee/kit/trial_device.h"

namespace vibee {

struct TrialRuntime {
  /// `seed` orders what events leave free, and threads of blocks; `memory` is the device's, in bytes.
  explicit TrialRuntime(uint64_t seed = 0, size_t memory = size_t(64) << 20)
      : trial({.memory = memory, .seed = seed, .find = find_host_function}), fatbin(trial_fatbin({90})) {}
  /// A real device fails when it likes, and others may use its memory.
  static bool real() { return std::getenv("VIBEE_TEST_DEVICE") != nullptr; }
  Result<std::shared_ptr<DeviceRuntime>> open() {
    if (real()) {
      VIBEE_ASSIGN(auto driver, cuda_driver());
      return DeviceRuntime::open(std::move(driver), 0, kernel_images());
    }
    const KernelImage image{"trial_cuda.cu", fatbin};
    return DeviceRuntime::open(trial.driver, 0, {&image, 1});
  }
  /// What was leaked or misused; nothing of the device may be used behind it.
  std::vector<std::string> finish() { return trial.host.finish(); }

  TrialDevice trial;
  std::vector<std::byte> fatbin;
};

}  // namespace vibee
