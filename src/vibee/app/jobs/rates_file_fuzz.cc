// SPDX-License-Identifier: Apache-2.0
// Any bytes as a file of rates: a message of one line, or rates that are written and read again.
#include <cstdlib>

#include "vibee/app/jobs/rates_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace vibee;
  const auto rates = parse_rates({reinterpret_cast<const char*>(data), size}, "fuzz.json");
  if (!rates.ok()) {
    if (rates.status().message().find('\n') != std::string::npos) std::abort();
    return 0;
  }
  const std::string text = rates_text(*rates);
  const auto again = parse_rates(text, "again.json");
  if (!again.ok() || rates_text(*again) != text) std::abort();
  rates->seconds("linear", {1e3, 1e3, 1e3}, 1e9);
  rates->seconds("no such work", {1}, 1e6);
  return 0;
}
