// SPDX-License-Identifier: Apache-2.0
// Runs another program without a shell and keeps what it says on its error stream.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "vibee/base/status/status.h"

namespace vibee {

struct ProcessEnd {
  int exit_code = 0;   ///< 128 + signal when one ended it
  std::string errors;  ///< the last 64 KiB of its stderr
};

/// args[0] is looked up in PATH; `environment` is added to this process's. Its stdin is `input` (at most 4 KiB:
/// secrets, which arguments would show to everybody), its stdout /dev/null. `step` is called some five times a second;
/// when it gives false the program (its process group) is killed and the result is "cancelled". The program is also
/// killed when the calling thread ends.
Result<ProcessEnd> run_process(const std::vector<std::string>& args,
                               const std::vector<std::pair<std::string, std::string>>& environment,
                               const std::function<bool()>& step, std::string_view input = {});

}  // namespace vibee
