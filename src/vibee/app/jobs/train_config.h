// SPDX-License-Identifier: Apache-2.0
// What `vibee train` reads: a TOML file whose keys are rows of train_keys.inc, checked one by one.
#pragma once

#include <string>
#include <vector>

#include "vibee/app/jobs/train_samples.h"
#include "vibee/base/status/status.h"
#include "vibee/kernels/update/update_rule.h"
#include "vibee/train/loop/new_model.h"
#include "vibee/train/loop/schedule.h"
#include "vibee/train/loop/train_step.h"

namespace vibee {

/// A value that may stand with or without quotes, as it was written.
struct TextOrNumber {
  std::string text;
};

struct TrainConfig {
  std::string out;        ///< folder of the run: model.gguf, metrics.jsonl, checkpoints
  std::string from;       ///< a model to go on from; empty: a new one
  std::string tokenizer;  ///< of a new model
  NewModel model;
  LoraOptions lora;    ///< of rank 0: the model is trained whole
  bool merge = false;  ///< the adapter into a model, too
  std::vector<std::string> stores, held_out;
  std::vector<uint64_t> store_weights;  ///< one a store; empty: by their rows
  uint32_t length = 256;                ///< tokens of a row
  uint32_t batch = 8;                   ///< rows of a step
  uint32_t part = 0;                    ///< rows that are computed at once; 0: all of a step
  uint64_t seed = 0;
  uint32_t threads = 0;  ///< 0: one a core
  std::string recompute = "none";
  uint64_t recompute_budget = 0;  ///< of "budget=BYTES"
  std::string act_compress = "none";
  SavedBits saved;           ///< of that name; of an average, what memory is counted with until bits are chosen
  double saved_average = 0;  ///< of "auto=B"; 0: none
  std::string bad_step = "stop";
  double spike = 0;
  uint64_t memory = 0;  ///< bytes; 0: what is available
  std::string schedule = "cosine";
  Schedule rates;
  std::string gemm = "native";
  GemmPolicy gemm_policy = GemmPolicy::native;  ///< of that name
  std::string rule = "adamw";
  Optimiser optimiser;
  std::string moments = "f32";
  uint64_t paged = 0;  ///< bytes of moments that are in memory at once; 0: all
  // Names of what `precision` is then; empty: what goes with `compute`.
  std::string compute = "f32", activations, master, gradients = "f32", gradient_sums = "plain", bf16_update = "rne";
  std::string products = "f32", products_scaling = "delayed", products_amax = "max", qat = "none";
  TextOrNumber loss_scale;
  Precision precision;
  double clip = 1;
  uint32_t eval_every = 100, eval_rows = 64;  ///< steps; rows of the held-out stores
  uint32_t sample_every = 0;                  ///< steps
  SampleSettings samples;
  bool save_async = true;
  uint32_t save_every = 100, keep = 3;  ///< steps; checkpoints beside the best
  // Of more than one rank.
  std::string mesh;     ///< "dp=4": as many ranks are asked for; empty: as many as there are
  uint32_t shares = 0;  ///< of a step, summed in a tree; 0: one a rank
  double bucket_mb = 25, first_bucket_mb = 1;
  bool overlap = true;
  double link_latency = 0, link_mb = 0;  ///< seconds; MB/s: a slower link than there is, 0: the one that is there
};

/// Reads a file, then `key=value` on top of it. Errors name the file, line and key, and for a key that does not exist
/// the nearest one that does.
enum class ConfigUse : uint8_t { run, plan };  ///< a plan needs neither a folder nor data
Result<TrainConfig> read_train_config(const std::string& path, const std::vector<std::string>& set,
                                      ConfigUse use = ConfigUse::run);
/// The same of a text that messages call `name`.
Result<TrainConfig> parse_train_config(const std::string& text, const std::string& name,
                                       const std::vector<std::string>& set, ConfigUse use = ConfigUse::run);

/// The keys as a table in Markdown's form, for the help and the docs.
struct TrainKey {
  std::string_view name, meaning;
};
std::vector<TrainKey> train_keys();

}  // namespace vibee
