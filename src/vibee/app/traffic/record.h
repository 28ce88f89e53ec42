// SPDX-License-Identifier: Apache-2.0
// What was seen of one request. Times are seconds after the start of the run.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace vibee {

/// A data event whose `choices` is not empty: what vLLM's bench client takes its times of.
struct StreamedPiece {
  double at_s = 0;
  uint32_t text_end = 0;  ///< bytes of the answer's text that were there with it
};

struct RequestRecord {
  uint32_t part = 0, conversation = 0, turn = 0;
  double due_s = 0, sent_s = 0, end_s = 0;
  std::vector<StreamedPiece> pieces;
  std::string text;
  double first_text_s = -1;  ///< of the first piece with text; < 0: there was none
  double queue_s = -1;       ///< as the server's headers say; < 0: they do not
  uint64_t prompt_tokens = 0, cached_tokens = 0, output_tokens = 0;
  bool counted = false;    ///< the token numbers are the server's
  bool finished = false;   ///< a finish_reason or [DONE] came
  bool cancelled = false;  ///< by us, at the end of the run: neither completed nor failed
  int status = 0;          ///< of HTTP; 0: no answer
  std::string error;       ///< empty: none

  bool completed() const { return error.empty() && !cancelled && !pieces.empty(); }
  bool failed() const { return !cancelled && !completed(); }
  double ttft() const { return pieces.front().at_s - sent_s; }
  double e2el() const { return pieces.back().at_s - sent_s; }
  /// Seconds a token behind the first; 0 for an answer of one token.
  double tpot() const { return output_tokens > 1 ? (e2el() - ttft()) / double(output_tokens - 1) : 0; }
};

}  // namespace vibee
