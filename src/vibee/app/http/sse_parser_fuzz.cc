// SPDX-License-Identifier: Apache-2.0
// Any bytes as an event stream: the events do not depend on how it was cut, and none is larger than the limit. The
// first byte says where the cuts are.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "vibee/app/http/sse_parser.h"

namespace {

constexpr size_t kLimit = 64;

struct Outcome {
  std::vector<std::pair<std::string, std::string>> events;
  bool ok = true;
};

Outcome parse(std::string_view bytes, size_t step) {
  Outcome out;
  vibee::SseParser parser(kLimit);
  for (size_t at = 0; out.ok && at < bytes.size(); at += step)
    out.ok = parser
                 .feed(bytes.substr(at, step),
                       [&](const vibee::SseEvent& e) {
                         if (e.data.size() > kLimit || e.type.size() > kLimit) std::abort();
                         out.events.emplace_back(e.type, e.data);
                       })
                 .ok();
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const Outcome whole = parse(bytes, bytes.size() + 1), cut = parse(bytes, 1 + data[0] % 7);
  if (whole.ok != cut.ok || whole.events != cut.events) std::abort();
  return 0;
}
