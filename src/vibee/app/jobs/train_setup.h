// SPDX-License-Identifier: Apache-2.0
// What a configuration of `vibee train` comes to before anything runs: the model, the stores, the order of rows, the
// options of a step. Training and planning begin with the same.
#pragma once

#include <memory>
#include <vector>

#include "vibee/app/jobs/train_config.h"
#include "vibee/model/layer/config.h"
#include "vibee/model/token/tokenizer.h"
#include "vibee/train/data/row_sampler.h"

namespace vibee {

/// The model that a run begins with, and what the file that it writes says.
struct Beginning {
  Checkpoint file;
  ModelConfig config;
  GgufMetadata metadata;
  std::unique_ptr<Tokenizer> tokenizer;  ///< null where the model has none
};
Result<Beginning> begin_model(const TrainConfig& config);

/// Token stores of the model's vocabulary, with a row each at least.
Result<std::vector<TokenStore>> open_stores(const std::vector<std::string>& paths, const Beginning& model,
                                            uint32_t vocab, uint32_t length);
Result<RowSampler> make_sampler(const TrainConfig& config, const std::vector<TokenStore>& stores);

/// Options of a rank's step, one of so many; TrainStepOptions::ranks and ::recompute are the caller's.
Result<TrainStepOptions> step_options(const TrainConfig& config, uint32_t ranks);
/// Bytes that a run may take.
uint64_t allowed_memory(const TrainConfig& config);
/// Bytes of a copy of what a step changes, of which checkpoints are written while training goes on; 0: there is none,
/// for it is not asked for, does not fit beside the step, or moments are paged.
uint64_t checkpoint_copy(const TrainConfig& config, const TrainStep::Memory& step, uint64_t allowed);
/// A level of recomputation with the most rows at once (train.part) whose step takes no more than is allowed.
struct FittingPart {
  std::string recompute;
  uint32_t part;   ///< 0: not even one row fits
  uint64_t bytes;  ///< of the steps of all ranks, which are on one machine
};
Result<FittingPart> fitting_part(const TrainConfig& config, const Checkpoint& file, const ModelConfig& model,
                                 TrainStepOptions options, const RecomputeName& level, uint32_t ranks,
                                 uint64_t allowed);
/// Who computes the step's dense products (kernels.gemm): by the machine's records, or measured now, on as many threads
/// as the step has. Sets TrainStepOptions::products to `choice`, or to null where ours computes all.
Status choose_products(const TrainConfig& config, const Checkpoint& file, const ModelConfig& model, GemmChoice* choice,
                       TrainStepOptions* options);
/// The level of recomputation, and whether it fits what memory there may be.
Status choose_recompute(const TrainConfig& config, const Checkpoint& file, const ModelConfig& model,
                        TrainStepOptions* options);

}  // namespace vibee
