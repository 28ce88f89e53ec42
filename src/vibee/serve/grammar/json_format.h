// SPDX-License-Identifier: Apache-2.0
// The formats of a JSON schema's strings. What is written is always of the format; not every text of it can be.
#pragma once

#include <string_view>

namespace vibee {

/// An ECMA-262 pattern that the whole text matches; empty for a format that is not known.
std::string_view json_format(std::string_view name);

}  // namespace vibee
