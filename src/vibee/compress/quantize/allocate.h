// SPDX-License-Identifier: Apache-2.0
// Which format each matrix of a model gets when the file may have so many bytes: what a format loses on a matrix is the
// squared error of its weights, each column's times its importance, and what that costs the model is measured once a
// matrix, as the KL divergence with this one alone in some format. Divergences of small changes add up and grow as the
// squared error does, so the least sum within the bytes is a knapsack's (core/allocate). So it is within a time: a
// matrix takes its share of what a token takes with all of the model in its format.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "vibee/compress/quantize/importance.h"
#include "vibee/model/layer/config.h"
#include "vibee/model/weight/recast.h"

namespace vibee {

struct MatrixChoices {
  std::string tensor;
  uint64_t elements = 0;
  std::vector<std::string> choices;  ///< by name, at least one: formats, or what another scheme has (exl2_model.h)
  std::vector<double> errors;        ///< of each, relative: sum importance (w - w')^2 / sum importance w^2
  std::optional<double> kl;       ///< in nats, of the model with this matrix as choices[probe()]; unset: not measured
  Format format(size_t i) const;  ///< where choices are formats
  /// The choice whose error is nearest to kProbeError: large enough to be measured, small enough to be a small change.
  size_t probe() const;
  /// What a choice costs, in nats; of a matrix that was measured.
  double damage(size_t i) const;
};
inline constexpr double kProbeError = 5e-3;

struct ErrorOptions {
  std::vector<Format> formats;             ///< to choose from, each of which can be written
  const Importance* importance = nullptr;  ///< null: columns count alike
  Team* team = nullptr;
  std::function<bool(uint64_t done, uint64_t of)> progress = nullptr;  ///< in bytes of the model; false stops
};

/// Every matrix that formats of blocks are for, its choices those whose blocks divide its rows, in the file's order,
/// without its `kl`. Refuses one whose rows no format divides.
Result<std::vector<MatrixChoices>> measure_errors(const Checkpoint& file, const ErrorOptions& options);

struct Allocation {
  std::map<std::string, Format, std::less<>> formats;
  uint64_t bytes = 0;    ///< of the file
  double predicted = 0;  ///< KL divergence, the sum of what was measured and scaled
  double bound = 0;      ///< no choice has less, by the same sum
  double seconds = 0;    ///< of a token that is generated, predicted; 0: not measured
};

/// Bytes of the file with its matrices in these formats and all else as it is.
uint64_t file_bytes(const Checkpoint& file, const GgufMetadata& metadata,
                    const std::function<Format(const TensorInfo&)>& format);

/// The least damage in a file of at most `bytes`; an error says how many there have to be.
Result<Allocation> allocate_formats(const Checkpoint& file, const GgufMetadata& metadata,
                                    std::span<const MatrixChoices> matrices, uint64_t bytes);

/// Seconds of a token that is generated with every matrix in a format, measured, by the format.
using FormatSeconds = std::map<Format, double>;
/// The weights of a matrix that such a token is multiplied by: none of a table, some of the experts.
uint64_t read_weights(const Checkpoint& file, const ModelConfig& config, const TensorInfo& tensor);

/// The least damage where a token takes at most `seconds`; an error says how many there have to be.
Result<Allocation> allocate_seconds(const Checkpoint& file, const GgufMetadata& metadata, const ModelConfig& config,
                                    std::span<const MatrixChoices> matrices, const FormatSeconds& in, double seconds);
/// The smallest file, to a thousandth, with at most so much damage; an error says how much there has to be.
Result<Allocation> allocate_damage(const Checkpoint& file, const GgufMetadata& metadata,
                                   std::span<const MatrixChoices> matrices, double damage);

}  // namespace vibee
