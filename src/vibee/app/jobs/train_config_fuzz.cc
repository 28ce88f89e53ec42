// SPDX-License-Identifier: Apache-2.0
// Any bytes as the configuration of a training run, its first line as --set: a configuration or a message of one line.
#include <cstdlib>

#include "vibee/app/jobs/train_config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace vibee;
  const std::string text(reinterpret_cast<const char*>(data), size);
  for (const std::vector<std::string>& set : {std::vector<std::string>{}, {text.substr(0, text.find('\n'))}}) {
    const auto config = parse_train_config(text, "fuzz.toml", set);
    if (!config.ok() && config.status().message().find('\n') != std::string::npos) std::abort();
  }
  return 0;
}
