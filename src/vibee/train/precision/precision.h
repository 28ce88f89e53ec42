// SPDX-License-Identifier: Apache-2.0
// In what numbers a run computes and keeps what it learns.
#pragma once

#include <string>
#include <vector>

#include "vibee/formats/packed/format.h"
#include "vibee/graph/pass/round_products.h"
#include "vibee/train/precision/bf16_accumulation.h"
#include "vibee/train/precision/fp8_scaling.h"
#include "vibee/train/precision/loss_scaling.h"

namespace vibee {

enum class Master : uint8_t { f32, split, none };

struct Precision {
  Format weights = Format::f32;              ///< of matrices that are trained, as products read them: f32, bf16, f16
  Format activations = Format::f32;          ///< of what the backward pass reads (store_activations)
  Master master = Master::f32;               ///< of weights in 16 bits
  Bf16Sum update = Bf16Sum::nearest;         ///< of weights in bf16 without a master
  Format gradients = Format::f32;            ///< of their sums over parts and shares: f32, bf16
  Bf16Sum gradient_sums = Bf16Sum::nearest;  ///< where those are in bf16
  bool narrow_moments = false;               ///< in 8 bits where that is done (bnb_optimization)
  uint32_t moment_block = 256;               ///< elements that share a scale there
  const ProductRecipe* products = nullptr;  ///< of every linear; null: as they are
  std::vector<std::string> products_skip;   ///< weights whose names contain one of these keep their products
  Fp8Scaling fp8;                           ///< of products in 8-bit floats
  /// Weights are learnt for a format of this family, the best first (quantize_aware); empty: for floats.
  std::vector<Format> stored;
  LossScaling loss_scale;
  uint64_t seed = 0;  ///< of what is rounded at random
};

/// What does not go together; the error names the key of a configuration.
Status check(const Precision& precision);

}  // namespace vibee
