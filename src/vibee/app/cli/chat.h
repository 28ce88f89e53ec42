// SPDX-License-Identifier: Apache-2.0
// The conversation on a terminal, shared by chat and by the end of `run --demo`.
#pragma once

#include <string>
#include <vector>

#include "vibee/app/cli/model_args.h"
#include "vibee/app/jobs/generate.h"

namespace vibee {

/// "36 prompt tokens at ... tokens/s, ...".
std::string speed_line(const GenerateStats& stats);
/// `files`: what the model's files say of sampling; the user's options go before it.
Result<GenerateConfig> generate_config(const SamplingArgs& sampling, const SamplingDefaults& files);
/// Reads messages from standard input until an empty line or its end; `messages` is what was said before. The exit
/// status.
int chat_loop(Loaded& loaded, const GenerateConfig& config, std::vector<ChatMessage> messages);

}  // namespace vibee
