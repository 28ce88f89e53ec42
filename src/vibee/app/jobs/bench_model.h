// SPDX-License-Identifier: Apache-2.0
// Times a model: load, prompt, generation, generation of several sequences together, each against the floor that this
// machine allows, measured in the same run.
#pragma once

#include <functional>
#include <string>

#include "vibee/app/jobs/load.h"

namespace vibee {

struct BenchConfig {
  uint32_t prompt = 512, generate = 128, sequences = 16;
  uint32_t depth = 0;  ///< tokens that stand before those that are generated
  uint32_t runs = 5;
  bool probe = true;  ///< measure the machine's limits before and after
};

struct BenchReport {
  double load_seconds = 0, first_token_seconds = 0;                       ///< of a prompt of 20 tokens, without loading
  double prompt_rate = 0, generate_rate = 0, batch_rate = 0;              ///< tokens/s, medians
  double bytes_per_token = 0, bandwidth_before = 0, bandwidth_after = 0;  ///< bytes; GB/s
  double int8_gops = 0, prompt_gops = 0;
  uint64_t stated_bytes = 0, peak_resident = 0;
  double bandwidth() const { return (bandwidth_before + bandwidth_after) / 2; }
  /// Share of the floor: bytes of weights a token over the bandwidth.
  double generate_fraction() const { return bandwidth() > 0 ? generate_rate * bytes_per_token / 1e9 / bandwidth() : 0; }
  double prompt_fraction() const { return int8_gops > 0 ? prompt_gops / int8_gops : 0; }
};

/// Which machine a speed is of.
std::string machine_of(uint32_t threads);

Result<BenchReport> bench_model(const LoadConfig& load, const BenchConfig& config,
                                const std::function<bool(std::string_view what, double fraction)>& progress);
std::string bench_json(const BenchReport& report, const LoadConfig& load, const BenchConfig& config);

}  // namespace vibee
