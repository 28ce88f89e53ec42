// SPDX-License-Identifier: Apache-2.0
// A model that was not trained yet, as a checkpoint like any other: its weights are random numbers that are computed
// where they are read, a function of the seed, the tensor and the element.
#pragma once

#include <string>

#include "vibee/model/weight/checkpoint.h"

namespace vibee {

struct NewModel {
  std::string architecture = "llama";  ///< or gpt2
  std::string name;                    ///< general.name; empty: none
  uint32_t vocab = 0, dim = 256, layers = 4, heads = 4;
  uint32_t kv_heads = 0;    ///< 0: as many as heads; gpt2 has no others
  uint32_t ff = 0;          ///< 0: 4 dim for gpt2, 8/3 dim for llama, up to a multiple of 32
  uint32_t context = 1024;  ///< positions
  bool tied = true;         ///< the head is the embedding; gpt2 has no other
  double spread = 0.02;     ///< standard deviation; what is added to the residual stream gets 1 / sqrt(2 layers) of it
  uint64_t seed = 0;
};

/// `tokenizer`: tokenizer.* keys, or nothing. Sizes that do not fit each other are errors.
Result<Checkpoint> new_checkpoint(const NewModel& model, GgufMetadata tokenizer);

}  // namespace vibee
