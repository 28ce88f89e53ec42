// SPDX-License-Identifier: Apache-2.0
// The arguments that every verb with a model shares, with one spelling.
#pragma once

#include <csignal>

#include "vibee/app/cli/args.h"
#include "vibee/app/jobs/load.h"
#include "vibee/serve/decode/sampler.h"

namespace vibee {

/// --threads --isa --ctx --chunk --kv --memory --disable, and --batch where asked for.
void add_load_args(Args& args, LoadConfig& config, bool with_batch = false);
/// MODEL and the same.
void add_model_args(Args& args, LoadConfig& config, bool with_batch = false);

/// What `vibee serve` takes where the user says nothing.
void set_serve_defaults(LoadConfig* config);

/// --kv-disk, of the verbs whose texts another run may go on with.
void add_kv_disk(Args& args, LoadConfig& config);
/// --lora, said in the words of the verb, and --max-lora-rank.
void add_lora_args(Args& args, LoadConfig& config, const std::string& help);

struct SamplingArgs {
  std::optional<double> temperature, top_p, min_p, typical_p, repetition_penalty;  ///< empty: as the model's files say
  std::optional<uint64_t> top_k;
  double presence_penalty = 0, frequency_penalty = 0;
  uint32_t max_tokens = 256, logprobs = 0;
  bool greedy = false, ignore_end = false;
  std::optional<uint64_t> seed;
  std::vector<std::string> stop, bias;  ///< bias: TOKEN=VALUE
  void add_to(Args& args);
  /// A seed is drawn when the user gave none; it is in the result.
  Result<SamplingParams> params(const SamplingDefaults& files) const;
};

/// Ctrl-C, or another signal, asks once to stop at the next token; a second one ends the process.
bool interrupted();
void catch_interrupt(int signal = SIGINT);

}  // namespace vibee
