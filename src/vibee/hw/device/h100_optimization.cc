// SPDX-License-Identifier: Apache-2.0
#include "vibee/hw/device/h100_optimization.h"

#include "vibee/hw/device/h200_optimization.h"

namespace vibee {

std::optional<HopperTuning> hopper_tuning(const DeviceInfo& device, const HopperSwitches& switches) {
  if (!switches.hopper || device.capability() != "9.0") return std::nullopt;
  const HardwareProfile* const profile = switches.deep_stages ? profile_of(device) : hopper_base();
  return HopperTuning{profile, uint32_t(profile->flight_bytes())};
}

}  // namespace vibee
