// SPDX-License-Identifier: Apache-2.0
// What each matrix of a model loses in each format (compress/quantize/allocate.h), measured on the model as it runs,
// and kept in a file for other budgets.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "vibee/compress/quantize/allocate.h"

namespace vibee {

struct MeasureMatrices {
  std::string source;           ///< the model's path
  std::vector<Format> formats;  ///< to choose from
  const Importance* importance = nullptr;
  std::span<const int32_t> tokens;  ///< of the calibration text
  int32_t bos = -1;
  uint32_t context = 512, windows = 8, threads = 1;
  Team* team = nullptr;
  std::string file = {};  ///< of an earlier measurement, or where this one goes; empty: neither
  std::string key = {};   ///< of what was measured: another one's file is refused
  /// What is done, how far it is, of how much and in what; false stops.
  std::function<bool(std::string_view what, std::string_view unit, double done, double total)> progress = {};
};

/// Errors of all matrices, and of each the KL divergence with it alone in its probe format; or what `file` holds.
Result<std::vector<MatrixChoices>> measure_matrices(const Checkpoint& file, const MeasureMatrices& how);

/// "4.25bpw" (bits a weight, everything in the file counted), "90MiB", bytes: the file's size at most.
Result<uint64_t> parse_budget(std::string_view text, uint64_t elements);

/// How the least damage falls as a file may be larger, with what was chosen: an SVG.
Result<std::string> allocation_picture(const Checkpoint& file, const GgufMetadata& metadata,
                                       std::span<const MatrixChoices> matrices, const Allocation& chosen);

}  // namespace vibee
