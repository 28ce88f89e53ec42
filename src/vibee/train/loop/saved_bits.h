// SPDX-License-Identifier: Apache-2.0
// How many bits each saved activation gets of an average (GACT: Liu et al., ICML 2022, section 4): what an error of a
// value does to the gradient is measured, and the knapsack of core/allocate takes the bits that do least.
//
// The sensitivity C of a value is how far the gradient moves when it alone lies in 1 bit: the largest of |g1 - g1'|^2
// of two seeds, 2 |g1 - g8|^2 and 2 |g1' - g8|^2, all others in 8 bits. With b bits its variance is C * 4^(1 - b).
// Values of one kind (the same op behind the same weight of a layer) are measured in three layers at most; others take
// those of the nearest.
#pragma once

#include "vibee/train/loop/train_step.h"

namespace vibee {

/// Bits of a model's saved values, at most `average` a number (1 to 8), by the gradients of a batch at the weights of
/// `file`. They depend on nothing else, so a run that goes on finds the same.
Result<SavedBits> choose_saved_bits(const Checkpoint& file, const ModelConfig& config, TrainStepOptions options,
                                    const TrainBatch& batch, double average);

/// What the variance of a step's gradient is then expected to be, |g - exact g|^2.
struct SavedVariance {
  std::vector<SavedValue> values;
  std::vector<double> sensitivity;  ///< C of each
};
Result<SavedVariance> measure_sensitivity(const Checkpoint& file, const ModelConfig& config, TrainStepOptions options,
                                          const TrainBatch& batch);
/// The sum of C * 4^(1 - b).
double expected_variance(const SavedVariance& measured, const SavedBits& bits);
/// By the knapsack.
Result<SavedBits> share_bits(const SavedVariance& measured, double average);

}  // namespace vibee
