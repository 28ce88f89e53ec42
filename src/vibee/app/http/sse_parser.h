// SPDX-License-Identifier: Apache-2.0
// Server-sent events out of the bytes of an answer, however these were cut. WHATWG HTML, section 9.2.6 "Interpreting an
// event stream". An event that the end of the stream cuts off is dropped, as the standard wants.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "vibee/base/status/status.h"

namespace vibee {

struct SseEvent {
  std::string type;  ///< empty: "message"
  std::string data;  ///< lines joined by "\n"
};

class SseParser {
 public:
  /// A line or the data of an event may have `limit` bytes: a server cannot make the reader hold more.
  explicit SseParser(size_t limit = 4 << 20) : limit_(limit) {}
  /// Calls `on_event` for every event that `bytes` complete. After an error nothing more is read.
  Status feed(std::string_view bytes, const std::function<void(const SseEvent&)>& on_event);

 private:
  Status take_line(const std::function<void(const SseEvent&)>& on_event);

  size_t limit_;
  std::string line_;       // the one that is not whole yet
  bool first_ = true;      // no line was taken yet: a byte order mark may stand before it
  bool after_cr_ = false;  // "\n" now belongs to the line that "\r" ended
  bool has_data_ = false;
  SseEvent event_;
};

}  // namespace vibee
