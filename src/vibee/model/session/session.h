// SPDX-License-Identifier: Apache-2.0
// step(batch): the one entry of inference. A session owns the compiled plan and the pages of its sequences; prefill,
// chunks, decode and mixes of them are batches that differ only in their numbers.
#pragma once

#include <memory>

#include "vibee/model/session/model.h"
#include "vibee/model/session/step_watch.h"
#include "vibee/model/state/page_store.h"

namespace vibee {

class DevicePages;
class DevicePlan;
class DevicePool;

struct SessionOptions {
  uint32_t context = 4096;  ///< positions a sequence, at most
  uint32_t sequences = 1;   ///< sequences whose full context the pages hold
  uint32_t max_rows = 512;  ///< rows a step
  uint32_t max_logits = 1;  ///< rows whose logits are wanted in a step; where rows are pooled: sequences in it
  KvFormat kv = KvFormat::f16;
  bool balance_attention = true;  ///< off with `--disable flashinfer`
  bool cut_keys = true;           ///< off with `--disable flash_decoding`
  bool cascade = true;            ///< off with `--disable cascade_inference`
  bool hopper = true;             ///< off with `--disable h100_optimization`
  bool deep_stages = true;        ///< off with `--disable h200_optimization`
  /// `--act`: how rows meet integer weights; for floats (slow) the pass quantize_activations must be off.
  RowForm row_form = RowForm::quantized;
  /// `--act llm_int8`: elements of rows of at least this size are not quantised; 0: all are (else the pass
  /// quantize_outputs must be off).
  float outlier_threshold = 0;
  uint32_t pages = 0;  ///< of keys and values; 0: the full context of all sequences
};

/// What a session will take of the host, or with ModelOptions::device of the device, known before anything is loaded.
struct MemoryPlan {
  uint64_t weights = 0, adapters = 0, arena = 0, pages = 0;
  uint32_t page_count = 0;
  uint64_t page_bytes = 0;
  uint64_t total() const { return weights + adapters + arena + pages; }
};

/// One sequence's part of a step.
struct StepRows {
  SequenceState* state;
  std::span<const int32_t> tokens;       ///< new tokens, at positions length() .. of the state
  uint32_t logits = 1;                   ///< the last `logits` of them want logits; ignored where rows are pooled
  std::span<const int32_t> types = {};   ///< one a token: which of two texts it is of; empty: all 0
  const LoraAdapter* adapter = nullptr;  ///< of the model's pool; the same for all steps of a sequence
};

class Session {
 public:
  /// The plan of memory from a file's header. Refuses a context of 0 or beyond the positions 2^26.
  static Result<MemoryPlan> plan_memory(const Checkpoint& file, const ModelConfig& config, const ModelOptions& model,
                                        const SessionOptions& options);
  static Result<std::unique_ptr<Session>> create(const Model& model, const SessionOptions& options);
  ~Session();

  PageStore& pages() { return pages_; }
  const Model& model() const { return model_; }
  /// Of a session on the CPU.
  Plan& plan() {
    VIBEE_CHECK(plan_ != nullptr, "the session computes on a device");
    return *plan_;
  }
  DevicePlan* device_plan() { return device_plan_.get(); }  ///< null there
  const SessionOptions& options() const { return options_; }
  SequenceState new_sequence() { return SequenceState(&pages_); }
  const StepWatch& watch() const { return watch_; }

  /// Logits of the rows asked for, [rows][vocabulary] (or what Output says instead), in the order of the batch; valid
  /// until the next step, the caller may overwrite them. Every sequence has advanced by its tokens. On an error no
  /// sequence has changed.
  Result<std::span<float>> step(std::span<const StepRows> rows);

 private:
  explicit Session(const Model& model);
  Status create_on_device(const std::shared_ptr<DeviceRuntime>& runtime, uint32_t pages);
  /// Logits of the rows asked for, of the batch that the vectors below make.
  Result<float*> compute();
  const Model& model_;
  SessionOptions options_;
  std::shared_ptr<DevicePool> pool_;  ///< of a session on a device: the plan's memory and the pages
  PageStore pages_;
  std::unique_ptr<Plan> plan_;
  std::unique_ptr<DevicePlan> device_plan_;
  const DevicePages* device_pages_ = nullptr;  ///< where the store's pages are
  std::vector<int32_t> tokens_, positions_, types_;
  std::vector<SequenceRows> sequences_;
  std::vector<uint32_t> logits_rows_;
  std::vector<const SequenceState*> states_;
  StepWatch watch_;
};

}  // namespace vibee
