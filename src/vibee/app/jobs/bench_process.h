// SPDX-License-Identifier: Apache-2.0
// `vibee bench` of a model in a process of its own: what is compared is then compared with its own memory, from the
// start.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "vibee/base/status/status.h"

namespace vibee {

struct BenchFigures {
  double prompt = 0, generate = 0, batch = 0;  ///< tokens/s; batch < 0: not measured
  double first_token_s = 0, peak_bytes = 0;
};

/// Figures of a report that `vibee bench --json-out` wrote.
Result<BenchFigures> read_bench_report(const std::string& path);

/// `binary bench ARGUMENTS`; `go_on` is asked some five times a second.
Result<BenchFigures> bench_process(const std::string& binary, std::vector<std::string> arguments,
                                   const std::function<bool()>& go_on);

/// The path of this program.
Result<std::string> own_binary();

}  // namespace vibee
