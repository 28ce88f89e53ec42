// SPDX-License-Identifier: Apache-2.0
// How far apart two spellings are, for messages that say what was probably meant.
#pragma once

#include <cstddef>
#include <string_view>

namespace vibee {

/// The least number of characters to insert, remove or change (Levenshtein). Time and memory: product and sum of the
/// lengths; callers bound them.
size_t edit_distance(std::string_view a, std::string_view b);

}  // namespace vibee
