// SPDX-License-Identifier: Apache-2.0
// Where this machine's book of measurements (hw/cost/records.h) lies: records.tsv in the cache.
#pragma once

#include "vibee/hw/cost/records.h"

namespace vibee {

/// The records of this CPU. Where the file cannot be read, an error names it.
Result<Records> machine_records();

}  // namespace vibee
