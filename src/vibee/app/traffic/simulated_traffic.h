// SPDX-License-Identifier: Apache-2.0
// Requests to a simulated server: their texts become tokens as the server's own code makes them, and what comes back
// stands in the same records.
#pragma once

#include "vibee/app/traffic/bench_serve.h"
#include "vibee/plan/simulate/serve_sim.h"

namespace vibee {

struct SimulatedTarget {
  ServeSimConfig server;  ///< without `token_of`
  std::string model;      ///< its name in the report
  const Tokenizer* tokenizer = nullptr;
  bool chat = true;
  uint32_t keys = 1;  ///< API keys that conversations take in turn; what one has computed the others do not find
  std::string times;  ///< where the times come from, for the report
};

/// Every run meets a server that was just started. An error when the model has no chat template, or one that is wrong.
Result<std::unique_ptr<BenchServer>> simulated_bench_server(SimulatedTarget target);

}  // namespace vibee
