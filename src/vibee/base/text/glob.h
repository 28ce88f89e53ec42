// SPDX-License-Identifier: Apache-2.0
// Unix wildcards as Python's fnmatch reads them, whose users such patterns come from: `*` is anything, dots too, `?`
// one character, `[a-z]` one of a set, `[!a-z]` one that is not; a bracket without its end stands for itself.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace vibee {

bool glob_matches(std::string_view pattern, std::string_view name);
bool any_glob_matches(std::span<const std::string> patterns, std::string_view name);

}  // namespace vibee
