// SPDX-License-Identifier: Apache-2.0
// What both ways of pulling need.
#pragma once

#include <algorithm>
#include <filesystem>
#include <string>
#include <string_view>

#include "vibee/base/text/quote.h"
#include "vibee/model/cache/cache.h"

namespace vibee {

inline Status make_directory(const std::string& path) {
  std::error_code why;
  std::filesystem::create_directories(path, why);
  if (!why) return {};
  return error(Code::io, "{}: cannot be made: {}", quote(path, 400), why.message());
}

/// Refuses to begin what the disk will not hold.
inline Status check_space(const std::string& folder, const std::string& name, uint64_t need) {
  std::error_code why;
  const std::filesystem::space_info space = std::filesystem::space(folder, why);
  if (why || space.available >= need) return {};
  return error(Code::io, "{}: pulling {} needs {} MiB of disk, {} MiB are free; free some and pull again",
               quote(folder, 400), name, (need >> 20) + 1, space.available >> 20);
}

/// Puts the folder `fresh` in the place of `place`; readers see the old folder or the new one. In pull_files.cc.
Status publish(const std::string& fresh, const std::string& place);

inline bool tell(const PullProgress& progress, std::string_view stage, uint64_t done, uint64_t total) {
  return !progress || progress(stage, total ? std::min(done, total) : done, total);
}

}  // namespace vibee
