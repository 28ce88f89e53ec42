// SPDX-License-Identifier: Apache-2.0
#include "vibee/base/status/status.h"

#include <cstdio>

namespace vibee {

void check_failed(const char* file, int line, const char* condition, const std::string& values) {
  std::fprintf(stderr, "%s:%d: check failed: %s %s\n", file, line, condition, values.c_str());
  std::abort();
}

}  // namespace vibee
