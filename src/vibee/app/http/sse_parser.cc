// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/http/sse_parser.h"

#include <algorithm>
#include <utility>

namespace vibee {

Status SseParser::take_line(const std::function<void(const SseEvent&)>& on_event) {
  std::string_view line = line_;
  if (std::exchange(first_, false) && line.starts_with("\xEF\xBB\xBF")) line.remove_prefix(3);
  if (line.empty()) {
    if (has_data_) on_event(event_);
    event_ = {};
    has_data_ = false;
  } else if (line[0] != ':') {  // else a comment
    const size_t colon = std::min(line.find(':'), line.size());
    const std::string_view field = line.substr(0, colon);
    std::string_view value = line.substr(std::min(colon + 1, line.size()));
    if (value.starts_with(' ')) value.remove_prefix(1);
    if (field == "data") {
      if (event_.data.size() + value.size() >= limit_)
        return error(Code::corrupt, "an event of the stream is larger than {} bytes", limit_);
      if (std::exchange(has_data_, true)) event_.data += '\n';
      event_.data += value;
    } else if (field == "event") {
      event_.type = value;
    }  // id and retry are for reconnecting; others are to be ignored
  }
  line_.clear();
  return {};
}

Status SseParser::feed(std::string_view bytes, const std::function<void(const SseEvent&)>& on_event) {
  while (!bytes.empty()) {
    if (std::exchange(after_cr_, false) && bytes[0] == '\n') {
      bytes.remove_prefix(1);
      continue;
    }
    const size_t end = bytes.find_first_of("\r\n");
    const std::string_view piece = bytes.substr(0, end);
    if (line_.size() + piece.size() > limit_)
      return error(Code::corrupt, "a line of the stream is longer than {} bytes", limit_);
    line_ += piece;
    if (end == bytes.npos) return {};
    after_cr_ = bytes[end] == '\r';
    bytes.remove_prefix(end + 1);
    VIBEE_TRY(take_line(on_event));
  }
  return {};
}

}  // namespace vibee
