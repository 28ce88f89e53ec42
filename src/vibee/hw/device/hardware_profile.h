// SPDX-License-Identifier: Apache-2.0
// What a machine is, as data: one JSON file a device in data/hw, of which every number says its unit, what it rests on
// and where it is from. Code asks a profile; none asks for a device's name.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "vibee/base/status/status.h"
#include "vibee/core/device/device.h"

namespace vibee {

/// In the unit's base: bytes, seconds, operations, watts, each a second where it is a rate.
struct HardwareNumber {
  double value = 0;
  std::string basis;   ///< datasheet, measured, fitted, derived or assumed
  std::string source;  ///< where it stands
  bool given() const { return !basis.empty(); }
};

struct HardwareProfile {
  struct Compute {
    std::string unit, dtype, accumulator;        ///< unit: matrix, vector or special
    HardwareNumber rate;                         ///< dense operations a second, two a multiply-add
    HardwareNumber per_core_clock;               ///< operations
    HardwareNumber clock;                        ///< where it is another than the profile's
    HardwareNumber measured;                     ///< the best rate that somebody reached
    std::vector<std::array<uint32_t, 3>> tiles;  ///< m, n, k of its instructions
  };
  struct Memory {
    std::string name;
    HardwareNumber nominal, usable;          ///< bytes
    HardwareNumber read;                     ///< bytes a second
    HardwareNumber latency, loaded_latency;  ///< of a read, alone and beside those that use the bandwidth
  };
  struct Link {
    std::string peer, name;  ///< peer: switch, device, host or net
    uint32_t lanes = 0;
    HardwareNumber per_lane, total;  ///< bytes a second in one direction
  };
  struct Limits {
    uint64_t registers_per_core = 0, shared_per_core = 0, shared_per_block = 0, threads_per_block = 0;
  };

  std::string id, title, kind;
  std::string capability;   ///< "9.0"
  std::string device_name;  ///< what the driver's name of such a device has in it
  HardwareNumber cores, clock, power;
  std::vector<Compute> compute;
  std::vector<Memory> memory;  ///< the first is the device's own
  std::vector<Link> links;
  Limits limits;

  const Compute* find_compute(std::string_view unit, std::string_view dtype) const;
  /// Operations a byte of memory from which on matrix units, not memory, are what a product of this type waits for.
  double ridge(std::string_view dtype) const;
  /// Bytes that each core has to have asked for and not got yet so that memory is never idle: bandwidth x latency under
  /// load / cores (Little's law).
  uint64_t flight_bytes() const;
};

/// Refuses unknown keys (with the nearest one), wrong units, numbers without basis or source, that are not positive, or
/// that do not go together: rate = cores x operations a clock x clock and lanes x rate = total within 1 %, usable at
/// most nominal. `name` is what errors call the text.
Result<HardwareProfile> parse_hardware_profile(std::string_view text, std::string_view name);

/// Those of data/hw, by id.
std::span<const HardwareProfile> hardware_profiles();
/// An error lists the nearest ids.
Result<const HardwareProfile*> find_hardware_profile(std::string_view id);
/// That of a device, or of what a slice is of: by its capability and name, else by capability and the nearest memory.
/// Null where there is none of the capability.
const HardwareProfile* profile_of(const DeviceInfo& device);

}  // namespace vibee
