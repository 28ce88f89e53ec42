// SPDX-License-Identifier: Apache-2.0
// The four normalization forms of Unicode (Unicode Standard Annex 15).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace vibee {

enum class NormalForm : uint8_t { nfc, nfd, nfkc, nfkd };

/// Bytes that are not UTF-8 stay as they are and separate what stands on either side.
std::string to_normal_form(std::string_view text, NormalForm form);

}  // namespace vibee
