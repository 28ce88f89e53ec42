// SPDX-License-Identifier: Apache-2.0
// From --device to what runs plans there.
#pragma once

#include <memory>
#include <string>

#include "vibee/graph/device/device_runtime.h"

namespace vibee {

/// "cpu": null. "cuda" or "cuda:N": device N of the process's driver, counted from 0, with this binary's kernels.
/// Errors say what is missing.
Result<std::shared_ptr<DeviceRuntime>> open_device(const std::string& text);

}  // namespace vibee
