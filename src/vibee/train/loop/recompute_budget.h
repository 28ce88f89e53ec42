// SPDX-License-Identifier: Apache-2.0
// Levels of recomputation, layer by layer, that meet a budget of memory (v1730; Jain et al., Checkmate, MLSys 2020,
// with layers in the place of nodes): the least that is computed again with which the plan of the very graph, as it
// would run, takes no byte more.
#pragma once

#include "vibee/train/loop/train_step.h"

namespace vibee {

/// Levels of the layers with which a step of the model takes at most `budget` bytes (TrainStep::Memory::sum): none
/// where all of it fits, up to full. `length`: rows of a document, by which attention is priced. A knapsack over layers
/// of what each keeps is tried with the plan itself, whose memory decides; then levels of single layers are lowered,
/// and exchanged between two, while it fits. An error says what the least is.
Result<std::vector<Recompute>> levels_within(const Checkpoint& file, const ModelConfig& config,
                                             const TrainStepOptions& options, uint32_t length, uint64_t budget);

/// What a step computes again, as floating-point operations, with those of elementwise work weighed by their bytes.
Result<double> recomputed_work(const Checkpoint& file, const ModelConfig& config, const TrainStepOptions& options,
                               uint32_t length);

}  // namespace vibee
