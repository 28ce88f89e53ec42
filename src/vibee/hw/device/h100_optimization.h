// SPDX-License-Identifier: Apache-2.0
// v1645 and v1646: what devices of compute capability 9.0 do otherwise. Products of bf16 and f16 go to warpgroups and
// tiles come by the tensor memory accelerator (kernels/gemm/wgmma_gemm_block.h) in as many stages as keep the memory of
// the device at hand busy; off, they go the way of capability 8.0, or with the stages of an H100.
#pragma once

#include <optional>

#include "vibee/hw/device/hardware_profile.h"

namespace vibee {

struct HopperSwitches {
  bool hopper = true;       ///< off with `--disable h100_optimization`
  bool deep_stages = true;  ///< off with `--disable h200_optimization`
};

struct HopperTuning {
  const HardwareProfile* profile;  ///< that the numbers are of
  uint32_t flight_bytes;           ///< HardwareProfile::flight_bytes
};

/// Nothing for other devices, or where it is off.
std::optional<HopperTuning> hopper_tuning(const DeviceInfo& device, const HopperSwitches& switches);

}  // namespace vibee
