// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/cli/version.h"

#include <fmt/core.h>

#include "vibee/base/simd/isa.h"
#include "vibee/version.h"

namespace vibee {

std::string version_text() { return fmt::format("vibee {} ({}, {})\n", kVersion, kCompiler, name(detected_isa())); }

}  // namespace vibee
