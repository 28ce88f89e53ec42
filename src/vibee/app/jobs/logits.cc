// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/jobs/logits.h"

#include <algorithm>

namespace vibee {

Status prompt_logits(Session& session, std::span<const int32_t> tokens, size_t first, std::span<float> out) {
  const SessionOptions& o = session.options();
  const size_t vocab = session.model().config().vocab;
  if (tokens.empty()) return error(Code::invalid, "logits of no tokens were asked for");
  if (tokens.size() > o.context)
    return error(Code::invalid, "{} tokens exceed the context of {}; use a larger --ctx", tokens.size(), o.context);
  if (first >= tokens.size())
    return error(Code::invalid, "logits from token {} on were asked for, there are {}", first, tokens.size());
  if (out.size() != (tokens.size() - first) * vocab)
    return error(Code::invalid, "room for {} logits, {} rows of {} were asked for", out.size(), tokens.size() - first,
                 vocab);
  SequenceState state = session.new_sequence();
  float* to = out.data();
  for (size_t at = 0; at < tokens.size();) {
    const bool wanted = at >= first;
    const size_t n = std::min<size_t>(wanted ? std::min(o.max_rows, o.max_logits) : o.max_rows,
                                      (wanted ? tokens.size() : first) - at);
    const StepRows rows{&state, tokens.subspan(at, n), wanted ? uint32_t(n) : 0};
    VIBEE_ASSIGN(const std::span<float> logits, session.step({&rows, 1}));
    to = std::copy(logits.begin(), logits.end(), to);
    at += n;
  }
  return {};
}

}  // namespace vibee
