// SPDX-License-Identifier: Apache-2.0
// A loaded model: configuration, tokenizer, weights in panels, graph.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>

#include "vibee/base/memory/huge_buffer.h"
#include "vibee/base/simd/isa.h"
#include "vibee/base/thread/team.h"
#include "vibee/graph/exec/plan.h"
#include "vibee/model/adapter/lora_pool.h"
#include "vibee/model/arch/arch.h"
#include "vibee/model/token/tokenizer.h"

namespace vibee {

class DeviceMatrices;
struct DeviceRuntime;
struct DeviceWeightTable;

/// What a model's weights take in memory, known from the file's header alone.
struct WeightBytes {
  uint64_t panels = 0, vectors = 0;
};

struct ModelOptions {
  uint32_t threads = 1;
  Isa isa = detected_isa();
  std::vector<std::string> disable;            ///< passes and techniques that are turned off
  bool tokenizer = true;                       ///< false for files that carry none (tests)
  std::optional<Output> output = {};           ///< instead of the model's own
  std::optional<Pooling> pooling = {};         ///< instead of what its files say
  LoraLimits lora = {};                        ///< of the adapters that are loaded beside it
  std::shared_ptr<DeviceRuntime> device = {};  ///< where its matrices lie and sessions compute; null: the CPU
};

class Model {
 public:
  Model();
  ~Model();
  static Result<std::unique_ptr<Model>> load(const std::string& path, const ModelOptions& options);
  static Result<std::unique_ptr<Model>> load(Checkpoint file, const ModelOptions& options);
  /// The graph of a file as the executor will run it, without loading weights.
  static Result<Graph> graph_of(const Checkpoint& file, const ModelConfig& config, const ModelOptions& options);
  static WeightBytes weight_bytes(const Graph& graph, Isa isa);

  const ModelConfig& config() const { return config_; }
  const Graph& graph() const { return graph_; }
  const Tokenizer& tokenizer() const { return *tokenizer_; }
  bool has_tokenizer() const { return tokenizer_ != nullptr; }
  WeightTable weights() const;
  /// Null: its sessions compute on the CPU.
  std::shared_ptr<DeviceRuntime> device() const;
  DeviceWeightTable device_weights() const;
  Isa isa() const { return isa_; }
  Team& team() const { return *team_; }
  uint64_t weight_memory() const;
  /// Its adapters; null where ModelOptions::lora makes room for none.
  LoraPool* loras() const { return loras_.get(); }
  /// Bytes of weights that one step of one token reads: every matrix once, one row of an untied embedding.
  uint64_t bytes_per_token() const;
  const std::string& path() const { return path_; }

 private:
  Status read_weights(const Checkpoint& file, const std::shared_ptr<DeviceRuntime>& device);

  std::string path_;
  ModelConfig config_;
  Isa isa_ = Isa::scalar;
  std::unique_ptr<Team> team_;
  std::unique_ptr<Tokenizer> tokenizer_;
  Graph graph_;
  HugeBuffer panels_, vectors_;
  std::unique_ptr<LoraPool> loras_;
  std::unordered_map<std::string, PackedWeight> matrices_;
  std::unique_ptr<DeviceMatrices> on_device_;  ///< instead of matrices_
  std::unordered_map<std::string, const float*> vector_at_;
};

}  // namespace vibee
