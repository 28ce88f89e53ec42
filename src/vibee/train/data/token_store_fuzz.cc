// SPDX-License-Identifier: Apache-2.0
// Any bytes as a token store: whatever opens is read without an id outside of the vocabulary; what verifies gives back
// documents that lie one behind the other and cover it.
#include <cstdlib>

#include "vibee/train/data/row_sampler.h"

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace vibee;
  const auto store = TokenStore::open(memory_source({data, data + size}), "fuzz");
  if (!store.ok()) {
    require(store.status().message().find('\n') == std::string::npos);
    return 0;
  }
  require(store->tokens() > 0 && store->documents() > 0);
  TokenSpan span;
  if (store->read(0, store->tokens(), &span).ok()) {
    for (const int32_t id : span.ids) require(id >= 0 && uint32_t(id) < store->vocabulary());
  }
  const bool good = store->verify().ok();
  uint64_t at = 0;
  for (uint64_t i = 0; i < std::min<uint64_t>(store->documents(), 64); ++i) {
    const auto extent = store->document(i);
    require(extent.ok() || !good);
    if (!extent.ok()) break;
    require(extent->begin < extent->end && extent->end <= store->tokens());
    require(!good || extent->begin == at);
    at = extent->end;
  }
  TrainingRow row;
  for (uint64_t r = 0; r < std::min<uint64_t>(rows_of(store->tokens(), 16), 8); ++r)
    require(read_row(*store, r, 16, &row).ok() || !good);
  return 0;
}
