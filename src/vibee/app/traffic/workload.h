// SPDX-License-Identifier: Apache-2.0
// What is sent: conversations, of one turn where nothing else is said. Texts are drawn from a seed, or read from files.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "vibee/app/traffic/prompts.h"
#include "vibee/base/random/lengths.h"

namespace vibee {

struct Turn {
  std::string role, text;   ///< role: "user", or what a file says
  uint32_t max_tokens = 0;  ///< of the answer; 0: this message is sent with the next turn, and no answer asked for
  double think_s = 0;       ///< after the answer before it
};

struct Conversation {
  std::string shared;  ///< the prefix that others have too: the system message of a chat; may be empty
  std::vector<Turn> turns;
  double at_s = 0;  ///< of traces: after the start
};

struct WorkloadConfig {
  uint32_t conversations = 64;
  Lengths prompt = {}, output = {false, 0, 0, {{0, 64}, {1, 64}}};  ///< tokens, of each turn
  double length_scale = 1;                                          ///< on drawn and on read lengths
  uint32_t prefix = 0;  ///< tokens that the conversations of a group begin with
  uint32_t groups = 1;
  double zipf = 0;  ///< group k is drawn with weight 1/k^zipf
  uint32_t turns = 1;
  double think_s = 0;
  std::string file;  ///< JSONL of prompts, or a trace (trace_file.h); empty: drawn
};

Result<std::vector<Conversation>> make_workload(const WorkloadConfig& config, const Prompts& prompts, uint64_t seed);

}  // namespace vibee
