// SPDX-License-Identifier: Apache-2.0
// One member of a Python wheel (a zip file), streamed out (libzip behind it).
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "vibee/base/status/status.h"

namespace vibee {

/// Gives the member's bytes to `sink` in pieces; an error of the sink ends the work and is returned. The member's
/// checksum is checked at its end.
Status extract_member(const std::string& wheel, const std::string& member,
                      const std::function<Status(std::span<const uint8_t>)>& sink);

}  // namespace vibee
