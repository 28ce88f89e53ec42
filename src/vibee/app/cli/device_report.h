// SPDX-License-Identifier: Apache-2.0
// What `vibee doctor` says of devices.
#pragma once

#include <memory>
#include <string>

#include "vibee/core/device/cuda_driver.h"

namespace vibee {

struct DeviceReport {
  std::string text;  ///< lines
  std::string json;  ///< an object: driver, devices, and in `note` why there are none
};

/// The driver, its devices and what their copies reach. `quick`: fewer repetitions.
DeviceReport report_devices(const Result<std::shared_ptr<const CudaDriver>>& driver, bool quick);
/// Of the process's driver.
DeviceReport report_devices(bool quick);

}  // namespace vibee
