// SPDX-License-Identifier: Apache-2.0
// Any text as a schedule log: it is replayed to its end, to a line that differs, or refused in one line.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "vibee/plan/simulate/replay.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace vibee;
  const auto report = replay_schedule({reinterpret_cast<const char*>(data), size}, "log");
  if (!report.ok() && report.status().message().find('\n') != std::string::npos) std::abort();
  return 0;
}
