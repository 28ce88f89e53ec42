// SPDX-License-Identifier: Apache-2.0
// Any bytes as a segment of pages: scan it, and read every record that it claims to hold, under its name and another.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "vibee/serve/kvcache/page_log.h"

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace vibee;
  const PageLogShape shape{{1, 2, 3}, 64};
  const auto segment = memory_source({data, data + size});
  const SegmentScan scan = scan_segment(*segment, shape);
  require(scan.readable || !scan.ours);
  require(scan.label.find('\n') == std::string::npos);
  require(scan.records.size() + scan.bad == scan.slots);
  std::vector<uint8_t> page(shape.page_bytes);
  for (const auto& [slot, name] : scan.records) {
    require(slot_offset(shape.page_bytes, slot) + shape.page_bytes <= size);
    PageKey key{};
    key.name = name;
    key.tokens.fill(7);  // those of the corpus
    const Status named = read_page(*segment, shape, slot, key, page);
    require(named.ok() || named.message().find('\n') == std::string::npos);
    // What is given is what was written: its head is the one a writer would make.
    if (named.ok()) {
      const std::vector<uint8_t> head = record_head(shape, key, page);
      std::vector<uint8_t> there(head.size());
      require(segment->read(slot_offset(shape.page_bytes, slot), there).ok() && there == head);
    }
    key.name[0] ^= 1;
    require(!read_page(*segment, shape, slot, key, page).ok());
  }
  return 0;
}
