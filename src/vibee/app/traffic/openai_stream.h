// SPDX-License-Identifier: Apache-2.0
// The events of a streamed answer of /v1/chat/completions or /v1/completions into a record. What a server sends is
// untrusted: anything else than the expected shapes is the request's error.
#pragma once

#include <string_view>

#include "vibee/app/http/sse_parser.h"
#include "vibee/app/traffic/record.h"

namespace vibee {

class OpenAiStream {
 public:
  /// The bytes of the body that came at `at_s`.
  void feed(std::string_view bytes, double at_s, RequestRecord* record);
  /// The body of an answer whose status is not 200, in a line.
  static std::string error_text(std::string_view body);

 private:
  void take(const SseEvent& event, double at_s, RequestRecord* record);
  SseParser parser_;
};

}  // namespace vibee
