// SPDX-License-Identifier: Apache-2.0
// From a model's name to a session: resolves it, states the memory it will take, refuses what does not fit before
// anything is loaded, and says which settings would.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "vibee/app/jobs/kv_disk.h"
#include "vibee/model/session/session.h"
#include "vibee/model/weight/builtin_model.h"
#include "vibee/model/weight/sampling_defaults.h"
#include "vibee/serve/batch/engine.h"

namespace vibee {

/// Of --act llm_int8 where nothing is said: what the paper found to keep a model's quality.
inline constexpr double kOutlierThreshold = 6;

struct LoadConfig {
  /// Path, or a name in the cache.
  std::string model = std::string(kBuiltinModel);
  std::string device = "cpu";    ///< where it computes: cpu, cuda, or cuda:N
  uint32_t threads = 0;          ///< 0: one a core
  std::string isa;               ///< empty: the best of this CPU
  uint32_t context = 0;          ///< 0: the model's own, at most 4096
  uint32_t batch = 1;            ///< sequences at once
  uint32_t chunk = 256;          ///< prompt rows a step; more is no faster and takes a larger arena
  uint32_t logits = 0;           ///< rows with logits a step; 0: batch
  std::string weights = "keep";  ///< format of matrices: the file's own, or one that they are brought into
  std::string kv = "f16";
  std::string act = "int8";  ///< rows that meet an integer weight: int8, llm_int8, bf16, or f32 (slow, for comparisons)
  std::optional<double> outlier_threshold;  ///< of llm_int8: elements of at least this size stay floats; empty: 6
  std::optional<uint64_t> memory;           ///< cap in bytes; empty: what the system has
  std::string attention_split = "auto";     ///< v1691: auto or off
  std::string prefix = "radix";             ///< what is kept for sequences that begin alike; off: nothing
  std::string kv_disk;                      ///< DIR,SIZE: what is kept outlives the process; empty: it does not
  std::string policy = "chunked";           ///< who runs in a step (serve/batch/batch.h)
  std::string order = "fcfs";               ///< who of those that wait goes first (serve/batch/order.h)
  /// Promised time between tokens, for the policy sarathi; 0: three steps of one row, at least 50 ms.
  double tbt_ms = 0;
  double gather_ms = 10;                           ///< a server hands over what was generated at most so often
  std::shared_ptr<const StepTime> step_time = {};  ///< of this very config, measured earlier; null: it is measured
  bool shrink_pages = false;         ///< where memory is short, fewer KV pages than the full context of all sequences
  std::vector<std::string> loras;    ///< adapters to load: [NAME=]PATH[:SCALE]
  uint32_t max_loras = 0;            ///< adapters at once; at least as many as `loras`
  uint32_t max_lora_rank = 16;       ///< of each, at most
  std::vector<std::string> disable;  ///< passes and techniques
  std::optional<Output> output = Output::logits;  ///< what steps give; empty: what the model was made to give
  std::optional<Pooling> pooling;                 ///< of embeddings; empty: as the model's files say
  std::shared_ptr<ScheduleLog> log;               ///< of what a server of it decides; null: none is kept
  uint32_t bits = 0;                              ///< of a model that stores several widths; 0: its widest
};

/// An adapter as a user names it.
struct LoraName {
  std::string name;  ///< empty: none was given
  std::string path;
  float scale = 1;  ///< of what it adds, beside its own
};
/// Reads [NAME=]PATH[:SCALE].
LoraName parse_lora(std::string_view text);

struct LoadedAdapter {
  LoraName name;
  std::shared_ptr<const LoraAdapter> adapter;
};

struct Loaded {
  std::unique_ptr<Model> model;
  std::unique_ptr<Session> session;
  MemoryPlan plan;
  std::vector<LoadedAdapter> adapters;  ///< LoadConfig::loras
  std::unique_ptr<DiskTier> disk;       ///< below `prefix`; null without --kv-disk
  std::unique_ptr<PrefixIndex> prefix;
  std::unique_ptr<StepTime> step_time;
  EngineOptions engine;       ///< with `prefix` and `step_time`
  uint64_t parameters = 0;    ///< elements of the file's tensors
  SamplingDefaults sampling;  ///< as the model's files say
  double seconds = 0;
};

/// A technique that `--disable ID` turns off in a session; other ids are passes.
struct SessionSwitch {
  std::string_view id, summary;
  bool SessionOptions::*on;
  bool device = false;  ///< it is of devices alone
};
std::span<const SessionSwitch> session_switches();

Result<KvFormat> parse_kv(const std::string& text);
/// The file, configuration and options that a config stands for, without loading weights.
struct Resolved {
  std::string path;
  Checkpoint file;
  ModelConfig config;
  ModelOptions model;
  SessionOptions session;
  MemoryPlan plan;
  SamplingDefaults sampling;
};
Result<Resolved> resolve(const LoadConfig& config);
/// Bytes that can still be had where the model is to lie, and what they are called.
struct MemoryLeft {
  uint64_t bytes = 0;
  std::string where;  ///< "available", "free on cuda device 0 (...)"
};
Result<MemoryLeft> memory_left(const ModelOptions& model);
/// Code::no_memory when the plan exceeds the cap; the message names a context, KV format or batch that fits.
Status check_memory(const Resolved& resolved, std::optional<uint64_t> cap);
/// What the policy sarathi promises between two tokens: `tbt_ms`, or what LoadConfig says of 0. An error when no step
/// is so short.
Result<double> promised_seconds(const StepTime& time, double tbt_ms);
Result<Loaded> load(const LoadConfig& config);

}  // namespace vibee
