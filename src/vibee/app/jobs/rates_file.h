// SPDX-License-Identifier: Apache-2.0
// A machine's rates (hw/cost/machine_rates.h) as a file: kept in the cache, one a CPU, a number of threads and a
// version of the program; or written and read elsewhere, so that another machine's runs can be planned.
#pragma once

#include <functional>
#include <string>

#include "vibee/base/simd/isa.h"
#include "vibee/base/status/status.h"
#include "vibee/hw/cost/machine_rates.h"

namespace vibee {

std::string rates_text(const MachineRates& rates);
/// `name` for messages. Every rate is a positive number of seconds, sizes ascend, and what pricing needs is there.
Result<MachineRates> parse_rates(std::string_view text, const std::string& name);

/// This machine's rates for so many threads, where they are kept; else Code::not_found.
Result<MachineRates> kept_rates(uint32_t threads);
/// The same: those that are kept, or measured ones, which are kept then. `again`:
/// measures in any case. `progress` as in measure_rates.
Result<MachineRates> machine_rates(uint32_t threads, bool again, const std::function<bool(std::string_view)>& progress);

}  // namespace vibee
