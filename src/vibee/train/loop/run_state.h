// SPDX-License-Identifier: Apache-2.0
// A run of training as a file, complete: one that goes on from it computes the bytes of one that never stopped.
//
//   header   64 bytes: "VIBEERUN", version, bytes of the sampler's line, steps, best loss, how many parts, hash of
//            what the weights are (16 bytes), CRC-32 of the sampler's line, CRC-32 of the 60 bytes before it
//   line     where the order of samples is (RowSampler::state)
//   parts    TrainStep::state(): each 64 bytes (its name in 48, zeros behind it; its size in 8; 4 of zeros; CRC-32 of
//            the 60 bytes before it), its bytes, their CRC-32
//
// Version 1, which is read too, is of f32 and AdamW alone: it says how many floats a part has, and its three parts
// (weights, first and second moments) have no names.
//
// All numbers are little-endian.
#pragma once

#include <string>

#include "vibee/base/hash/siphash.h"
#include "vibee/train/loop/train_step.h"

namespace vibee {

struct RunState {
  uint64_t steps = 0;
  double best = 0;      ///< the lowest loss of an evaluation; infinite where there was none
  std::string sampler;  ///< RowSampler::state
};

/// What a file says, its parts where the step has them.
struct RunImage {
  RunState state;
  Hash128 shape;
  std::vector<StatePart> parts;
};
RunImage image_of(TrainStep& step, const RunState& state);

/// The file appears whole or not at all.
Status save_run(const std::string& path, const RunImage& image);
Status save_run(const std::string& path, TrainStep& step, const RunState& state);
/// Fills `step` and says where the run is. A file that is damaged or of another model is an error; after damage in a
/// part, `step` is not to be used.
Result<RunState> load_run(const std::string& path, TrainStep* step);

}  // namespace vibee
