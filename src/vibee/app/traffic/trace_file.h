// SPDX-License-Identifier: Apache-2.0
// Workloads from files. By the first line it is seen what a file is:
//   TIMESTAMP,ContextTokens,GeneratedTokens    CSV, as Azure publishes its traces (2023)
//   {"timestamp": ms, "input_length": n, "output_length": n, "hash_ids": [...]}    JSONL, as Mooncake's: an id stands
//       for 512 tokens of the prompt; equal ids become equal texts, so that a cache meets the sharing that there was
//   {"prompt": "...", "max_tokens": n}  or  {"messages": [{"role": ..., "content": ...}], "max_tokens": n}    JSONL
// Lengths without texts become words (prompts.h). Errors name the line.
#pragma once

#include <string_view>

#include "vibee/app/traffic/workload.h"

namespace vibee {

/// `config.file`, its first `config.conversations` lines, lengths times `length_scale`.
Result<std::vector<Conversation>> read_workload_file(const WorkloadConfig& config, const Prompts& prompts,
                                                     uint64_t seed);
/// The same of the file's text; `name` for messages.
Result<std::vector<Conversation>> parse_workload(std::string_view text, const std::string& name,
                                                 const WorkloadConfig& config, const Prompts& prompts, uint64_t seed);

}  // namespace vibee
