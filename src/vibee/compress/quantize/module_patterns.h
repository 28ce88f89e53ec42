// SPDX-License-Identifier: Apache-2.0
// Which modules of a model are quantised, by wildcards.
#pragma once

#include <string>
#include <vector>

#include "vibee/base/text/glob.h"

namespace vibee {

struct ModulePatterns {
  std::vector<std::string> include = {}, exclude = {};  ///< base/text/glob.h; no include: all

  bool take(std::string_view module) const {
    return (include.empty() || any_glob_matches(include, module)) && !any_glob_matches(exclude, module);
  }
};

}  // namespace vibee
