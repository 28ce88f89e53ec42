// SPDX-License-Identifier: Apache-2.0
#include "vibee/hw/device/h200_optimization.h"

namespace vibee {

const HardwareProfile* hopper_base() { return *find_hardware_profile("h100_sxm5_80"); }

}  // namespace vibee
