// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <string>

namespace vibee {

/// Splits the process. The child returns at once, with nothing. The parent starts another child whenever one dies of a
/// signal or ends with kExitAgain, hands SIGTERM, SIGINT and SIGHUP on, and returns the exit status of the last one. To
/// be called before there are threads. `log` gets a line for each that is started again.
std::optional<int> supervise(const std::function<void(const std::string&)>& log);

}  // namespace vibee
