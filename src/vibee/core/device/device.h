// SPDX-License-Identifier: Apache-2.0
// What is known of a device before anything is taken from it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "vibee/base/status/status.h"

namespace vibee {

struct CudaDriver;

struct DeviceInfo {
  int ordinal = 0;
  std::string name;  ///< a slice of MIG is a device by its own name, e.g. "NVIDIA H100 80GB HBM3 MIG 1g.10gb"
  std::string uuid;  ///< GPU-xxxxxxxx-xxxx-...
  std::string pci;   ///< 0000:17:00.0
  uint32_t major = 0, minor = 0;  ///< compute capability
  uint32_t multiprocessors = 0;
  uint64_t memory_bytes = 0, l2_bytes = 0;
  uint64_t shared_per_block = 0,
           shared_per_multiprocessor = 0;      ///< bytes a block may have at most, and all blocks of one
  double clock_ghz = 0, memory_clock_ghz = 0;  ///< the highest ones
  uint32_t memory_bus_bits = 0;
  bool integrated = false, ecc = false;
  bool slice() const { return name.find("MIG") != std::string::npos; }
  std::string capability() const { return fmt::format("{}.{}", major, minor); }
};

/// Those of a driver.
Result<std::vector<DeviceInfo>> cuda_devices(const CudaDriver& driver);
/// Those of the process's driver; the Status says why there are none.
Result<std::vector<DeviceInfo>> cuda_devices();

}  // namespace vibee
