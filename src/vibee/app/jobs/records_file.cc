// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/jobs/records_file.h"

#include <filesystem>

#include "vibee/hw/device/probe.h"
#include "vibee/model/cache/cache.h"

namespace vibee {

Result<Records> machine_records() {
  VIBEE_ASSIGN(const ModelCache cache, ModelCache::open());
  std::error_code ignored;  // what comes of it is seen when a record is added
  std::filesystem::create_directories(cache.directory(), ignored);
  return Records::open(cache.directory() + "/records.tsv", cpu_name());
}

}  // namespace vibee
