// SPDX-License-Identifier: Apache-2.0
// The rates that training is priced with, measured: small graphs run by the TrainPlan that ships, a TrainStep's
// update, its checkpoint. A few seconds, and some 250 MB of memory meanwhile.
#pragma once

#include <functional>
#include <span>
#include <string>

#include "vibee/base/simd/isa.h"
#include "vibee/base/status/status.h"
#include "vibee/hw/cost/machine_rates.h"

namespace vibee {

/// `folder`: where a checkpoint may be written to see how long that takes. `progress` gets what is measured and stops
/// the work by returning false.
Result<MachineRates> measure_rates(uint32_t threads, Isa isa, const std::string& folder,
                                   const std::function<bool(std::string_view)>& progress);

/// Kinds of work that a file of rates has to have.
std::span<const std::string_view> needed_rates();
/// How many sizes a grid of that kind has.
size_t axes_of(std::string_view kind);

}  // namespace vibee
