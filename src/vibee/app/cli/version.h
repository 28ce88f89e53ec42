// SPDX-License-Identifier: Apache-2.0
// What `vibee --version` says.
#pragma once

#include <string>

namespace vibee {

/// "vibee 0.1.0 (GNU 12.2.0, avx512)\n": release, compiler, best instruction set of this CPU.
std::string version_text();

}  // namespace vibee
