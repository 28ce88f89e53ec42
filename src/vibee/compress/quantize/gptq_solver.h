// SPDX-License-Identifier: Apache-2.0
// The GPTQ solver over a model: what each product reads over a text is summed as H, for as many products at a time as
// memory holds, and matrices are encoded by the factors of these (gptq.h). Inputs are those of the unquantised model.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "vibee/compress/quantize/calibration_run.h"
#include "vibee/compress/quantize/gptq.h"
#include "vibee/model/weight/recast.h"

namespace vibee {

/// Sums over a calibration text of x x^T, x what a product reads, divided by the rows.
class Hessians {
 public:
  /// `bytes`: of all matrices that are held at a time, those of one layer at least. The tokens must outlive this.
  static Result<Hessians> open(const Checkpoint& file, const ModelConfig& config, std::span<const int32_t> tokens,
                               CalibrateOptions options, uint64_t bytes);
  /// Of the rows that a tensor multiplies, [k, k]; empty for a tensor that none does, and for experts, each of which
  /// has rows of its own. Runs over the text when it is not held, and then for all of its layer and as many of the
  /// other layers as fit, those behind it first: files have a layer's tensors in orders of their own, and before them a
  /// head that is the embedding.
  Result<std::span<const float>> of(const std::string& tensor);
  /// The first tensor that reads the same rows: q, k and v have one matrix.
  const std::string& shared_by(const std::string& tensor) const { return same_.at(tensor); }
  bool knows(const std::string& tensor) const { return same_.contains(tensor); }

 private:
  struct Input {
    std::string tensor;
    size_t node;
    ValueId rows;
    uint32_t k;
    std::optional<ValueId> order;  ///< of its columns in the rows
  };
  Hessians(CalibrationRun run, uint64_t bytes) : run_(std::move(run)), bytes_(bytes) {}
  Status gather(size_t asked);
  CalibrationRun run_;
  uint64_t bytes_;
  std::vector<Input> inputs_;  ///< in the graph's order
  std::map<std::string, std::string> same_;
  std::map<std::string, std::vector<float>> held_;  ///< by the first tensor's name
};

class GptqSolver {
 public:
  static constexpr double kDamping = 0.01;
  GptqSolver(Hessians& hessians, Team& team, Isa isa) : hessians_(&hessians), team_(&team), isa_(isa) {}
  /// For RecastOptions::encoder: nothing for a tensor that no product reads, experts, and formats without codes.
  Result<std::shared_ptr<const RowEncoder>> encoder(const TensorInfo& tensor);
  /// Whether it has an encoder for a tensor as it will be.
  bool solves(const TensorInfo& tensor) const;

 private:
  Hessians* hessians_;
  Team* team_;
  Isa isa_;
  std::string factored_;  ///< whose factor is kept
  std::shared_ptr<const GptqFactor> factor_;
  std::string encoded_;  ///< whose encoder is kept, and in which format
  Format format_ = Format::f32;
  std::shared_ptr<const RowEncoder> encoder_;
};

}  // namespace vibee
