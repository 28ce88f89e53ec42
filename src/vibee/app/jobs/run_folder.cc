// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/jobs/run_folder.h"

#include <algorithm>
#include <filesystem>

#include "vibee/base/text/quote.h"

namespace vibee {
namespace fs = std::filesystem;

Result<RunFolder> RunFolder::open(const std::string& path) {
  std::error_code failed;
  fs::create_directories(fs::path(path) / "checkpoints", failed);
  if (failed) return error(Code::io, "{}: cannot be made: {}", quote(path, 400), failed.message());
  return RunFolder(path);
}

std::string RunFolder::checkpoint(uint64_t step) const { return fmt::format("{}/checkpoints/{}.run", path_, step); }

std::vector<uint64_t> RunFolder::checkpoints() const {
  std::vector<uint64_t> steps;
  std::error_code ignored;
  for (auto it = fs::directory_iterator(path_ + "/checkpoints", ignored); !ignored && it != fs::directory_iterator();
       it.increment(ignored)) {
    const std::string stem = it->path().stem().string();
    const bool number = !stem.empty() && stem.size() < 19 &&
                        std::all_of(stem.begin(), stem.end(), [](char c) { return c >= '0' && c <= '9'; });
    if (number && it->path().extension() == ".run") steps.push_back(std::stoull(stem));
  }
  std::sort(steps.begin(), steps.end());
  return steps;
}

void RunFolder::prune(uint32_t keep) const {
  const std::vector<uint64_t> steps = checkpoints();
  std::error_code ignored;
  for (size_t i = 0; i + keep < steps.size(); ++i) fs::remove(checkpoint(steps[i]), ignored);
}

}  // namespace vibee
