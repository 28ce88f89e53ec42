// SPDX-License-Identifier: Apache-2.0
// The models of data/golden/hf and of data/golden/quantized by name, so that a new one needs no line in the tests.
#pragma once

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

namespace vibee {

/// Those made for themselves, not the twins of GGUF goldens ("llama-b"); a parameter of a test suite, sorted.
inline std::vector<std::string> golden_directories(std::string_view but = "") {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(VIBEE_SOURCE_DIR "/data/golden/hf")) {
    const std::string name = entry.path().filename().string();
    if (name.find('-') == std::string::npos && name != but) names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

inline std::vector<std::string> quantized_directories() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(VIBEE_SOURCE_DIR "/data/golden/quantized"))
    names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace vibee
