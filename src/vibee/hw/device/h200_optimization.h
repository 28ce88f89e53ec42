// SPDX-License-Identifier: Apache-2.0
// v1646: an H200 has the H100's multiprocessors and 1.43 times its bandwidth, so each has to have more bytes under way.
// Its own profile says how many; without it an H100's numbers hold.
#pragma once

#include "vibee/hw/device/hardware_profile.h"

namespace vibee {

/// The profile whose numbers hold where no device's own are wanted: the H100's.
const HardwareProfile* hopper_base();

}  // namespace vibee
