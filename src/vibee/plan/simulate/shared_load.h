// SPDX-License-Identifier: Apache-2.0
// What is in a step, for its time: keys that several sequences share are read from memory once and then lie in a cache.
#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "vibee/model/session/session.h"
#include "vibee/serve/batch/step_time.h"

namespace vibee {

class SharedLoad {
 public:
  explicit SharedLoad(uint32_t pages) : seen_(pages, 0) {}
  /// Of rows that have not run yet.
  StepLoad of(std::span<const StepRows> rows) {
    StepLoad load;
    ++step_;
    uint64_t keys = 0;
    for (const StepRows& r : rows) {
      const uint32_t before = r.state->length();
      load.add(r.tokens.size(), before, r.logits);
      keys += r.tokens.size();
      for (uint32_t at = 0, i = 0; at < before; at += kPageTokens, ++i) {
        uint64_t& seen = seen_[r.state->pages()[i]];
        if (seen != step_) keys += std::min(kPageTokens, before - at);
        seen = step_;
      }
    }
    load.keys = keys;
    return load;
  }

 private:
  std::vector<uint64_t> seen_;  // by page: the last step that read it
  uint64_t step_ = 0;
};

}  // namespace vibee
