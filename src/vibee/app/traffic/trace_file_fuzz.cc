// SPDX-License-Identifier: Apache-2.0
// Any bytes as a file of requests: a workload whose every conversation asks for something, or one line that names the
// file.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "vibee/app/traffic/trace_file.h"

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace vibee;
  static const Prompts prompts = std::move(*Prompts::create(nullptr));
  WorkloadConfig config;
  config.length_scale = 1e-5;  // texts of the longest prompts would be all that is timed
  const auto made = parse_workload({reinterpret_cast<const char*>(data), size}, "fuzz.jsonl", config, prompts, 1);
  if (!made.ok()) {
    require(made.status().message().find("fuzz.jsonl") != std::string::npos);
    require(made.status().message().find('\n') == std::string::npos);
    return 0;
  }
  require(!made->empty() && made->size() <= config.conversations);
  for (const Conversation& c : *made) {
    require(std::isfinite(c.at_s) && c.at_s >= 0);
    require(!c.turns.empty() && c.turns.back().max_tokens > 0);
  }
  return 0;
}
