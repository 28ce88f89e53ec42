// SPDX-License-Identifier: Apache-2.0
// What each matrix of a model loses by each choice (compress/quantize/allocate.h) and how long tokens take in formats,
// measured on the model as it runs, and kept in a file for other budgets.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "vibee/compress/quantize/allocate.h"

namespace vibee {

/// What is done, how far it is, of how much and in what; false stops.
using MeasureProgress = std::function<bool(std::string_view what, std::string_view unit, double done, double total)>;

/// What there is to choose from.
struct ChoiceScheme {
  /// Of all matrices, without their `kl`.
  std::function<Result<std::vector<MatrixChoices>>(const MeasureProgress&)> errors;
  /// How the model is read with one matrix as a choice makes it, all others as they are.
  std::function<Result<RecastOptions>(const MatrixChoices&, size_t choice)> changed;
  /// Whether a file has choices that the model's matrices have.
  std::function<Status(const MatrixChoices&, const TensorInfo&)> check;
};
/// Formats, `importance` null or outliving the scheme, as have `file` and `team`.
ChoiceScheme format_scheme(const Checkpoint& file, std::vector<Format> formats, const Importance* importance,
                           Team* team);

struct MeasureMatrices {
  std::string source;  ///< the model's path
  ChoiceScheme scheme;
  std::span<const int32_t> tokens;  ///< of the calibration text
  int32_t bos = -1;
  uint32_t context = 512, windows = 8, threads = 1;
  std::string file = {};           ///< of an earlier measurement, or where this one goes as it is made; empty: neither
  std::string key = {};            ///< of what was measured: another one's file is refused
  std::vector<Format> timed = {};  ///< formats in which tokens are timed
  MeasureProgress progress = {};
};

struct Measured {
  std::vector<MatrixChoices> matrices;
  std::string machine;    ///< that tokens were timed on
  FormatSeconds seconds;  ///< of a token
};
/// Errors of all matrices, and of each the KL divergence with it alone as its probe choice; or what `file` holds, which
/// goes on where it was stopped. Times of another machine are measured again.
Result<Measured> measure_matrices(const Checkpoint& file, const MeasureMatrices& how);

/// What is spent: the file's bytes, tokens a second that are generated here, or nats of predicted KL divergence.
struct Budget {
  enum class Of : uint8_t { bytes, speed, damage } of;
  double amount;
};
/// "4.25bpw" (bits a weight, everything in the file counted), "90MiB", bytes: at most. "300tok/s": at least.
/// "0.01nats": at most.
Result<Budget> parse_budget(std::string_view text, uint64_t elements);

/// How the least damage falls as a file may be larger, with what was chosen: an SVG.
Result<std::string> allocation_picture(const Checkpoint& file, const GgufMetadata& metadata,
                                       std::span<const MatrixChoices> matrices, const Allocation& chosen);

}  // namespace vibee
