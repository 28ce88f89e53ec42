// SPDX-License-Identifier: Apache-2.0
// v1774, what a model is prepared with for keys of four bits: SmoothAttention (Lin et al., QServe, MLSys 2025,
// arXiv:2405.04532, section 4.2). Its weights are formats/integer/qoq_blocks.cc, its cache KvFormat::int4. A few
// channels of the keys are much larger than the others, and set the scale of all. Channel i of the keys is divided by
// lambda_i = max|k_i|^alpha, that of the queries multiplied by it, in what makes them: the rows of their matrices (and
// biases), or the gains of their norms. The members of a rotary pair have one lambda, which therefore commutes with the
// rotation.
//
// Lambdas are powers of two here: attention is the same to the bit, and so are the codes of a format whose scales are
// those of rows or parts of them.
#pragma once

#include <span>
#include <vector>

#include "vibee/compress/quantize/calibration_run.h"
#include "vibee/model/weight/recast.h"

namespace vibee {

class SmoothAttention {
 public:
  /// From the keys of a text. Refuses what CalibrationRun::open does.
  static Result<SmoothAttention> measure(const Checkpoint& file, const ModelConfig& config,
                                         std::span<const int32_t> tokens, const CalibrateOptions& options,
                                         double alpha = 0.5);
  /// From the largest magnitudes of a model's keys, [layer][kv head * head dimension].
  SmoothAttention(const ModelConfig& config, std::vector<std::vector<float>> largest, double alpha);

  /// Of the model's tensors.
  RecastEdit edit() const;
  /// [layer][kv head * head dimension]
  const std::vector<std::vector<float>>& lambdas() const { return lambdas_; }

 private:
  /// What row i (of a vector: number i) of a tensor is multiplied by.
  struct Scaled {
    std::vector<float> factors;
    uint64_t columns;
  };
  void scale(const ModelConfig& config, uint32_t layer);
  std::vector<std::vector<float>> lambdas_;
  std::map<std::string, Scaled, std::less<>> tensors_;
};

}  // namespace vibee
