// SPDX-License-Identifier: Apache-2.0
// As many stories as are asked for, told on all threads. The bytes depend on the seed and the first story alone.
#pragma once

#include <functional>

#include "vibee/model/token/tokenizer.h"
#include "vibee/train/data/stories.h"

namespace vibee {

/// What stands between two stories of a text file.
inline constexpr std::string_view kStorySeparator = "<|endoftext|>";

struct StoryOrder {
  uint64_t seed = 1, first = 0;
  uint64_t stories = 0, bytes = 0, tokens = 0;  ///< enough is when all of them are reached; at least one is not 0
  const Tokenizer* tokenizer = nullptr;         ///< to count tokens with, each story's end token too
  uint32_t threads = 1;                         ///< at least 1
  bool lines = false;                           ///< JSON lines with a text, in the place of text and separators
};

struct StoryCount {
  uint64_t stories = 0, bytes = 0, tokens = 0;
};

/// `write` gets the text in parts, in order. `progress` gets how much there is; it stops the work by returning false.
Result<StoryCount> write_stories(const Storyteller& teller, const StoryOrder& order,
                                 const std::function<Status(std::string_view)>& write,
                                 const std::function<bool(const StoryCount&)>& progress = {});

}  // namespace vibee
