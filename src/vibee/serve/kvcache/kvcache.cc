// SPDX-License-Identifier: Apache-2.0
#include "vibee/serve/kvcache/kvcache.h"

#include "vibee/base/text/quote.h"
#include "vibee/serve/kvcache/disk_tier.h"
#include "vibee/serve/kvcache/prefix_caching.h"
#include "vibee/serve/kvcache/radix_attention.h"

namespace vibee {
namespace {

template <class Index>
std::unique_ptr<PrefixIndex> make(PageStore* store) {
  return std::make_unique<Index>(store);
}
constexpr PrefixIndexKind kKinds[] = {{"radix", "radix_attention", make<RadixIndex>},
                                      {"hash", "prefix_caching", make<HashIndex>}};

}  // namespace

SequenceState PrefixIndex::match(uint64_t space, std::span<const int32_t> tokens) {
  found_.clear();
  const uint32_t length = find(space, tokens, &found_);
  return SequenceState::share(store_, found_, length);
}

void PrefixIndex::insert(uint64_t space, std::span<const int32_t> tokens, const SequenceState& state) {
  VIBEE_CHECK(tokens.size() <= state.length(), "{} of {}", tokens.size(), state.length());
  add(space, tokens, state);
  if (tier_) tier_->publish(space, tokens, state);
}

void PrefixIndex::load(uint64_t space, std::span<const int32_t> tokens, double row_seconds, SequenceState* state) {
  if (!tier_) return;
  const uint32_t before = state->length();
  tier_->load(
      space, tokens, row_seconds, [this] { return evict(); }, state);
  if (state->length() > before) add(space, tokens.first(state->length()), *state);
}

void PrefixIndex::hold(uint32_t page) {
  VIBEE_CHECK(!held_[page], "page {}", page);
  held_[page] = true;
  store_->retain(page);
}

void PrefixIndex::drop(uint32_t page) {
  VIBEE_CHECK(held_[page], "page {}", page);
  held_[page] = false;
  store_->release(page);
}

void PrefixIndex::drop_all() {
  for (uint32_t page = 0; page < held_.size(); ++page)
    if (held_[page]) drop(page);
}

uint32_t PrefixIndex::evictable() const {
  uint32_t n = 0;
  for (uint32_t page = 0; page < held_.size(); ++page) n += held_[page] && !in_use(page);
  return n;
}

std::span<const PrefixIndexKind> prefix_index_kinds() { return kKinds; }

Result<std::unique_ptr<PrefixIndex>> make_prefix_index(std::string_view id, PageStore* store) {
  if (id == "off") return std::unique_ptr<PrefixIndex>();
  std::string known = "off";
  for (const PrefixIndexKind& kind : kKinds) {
    if (kind.id == id) return kind.make(store);
    known += fmt::format(", {}", kind.id);
  }
  return error(Code::invalid, "--prefix {}: unknown; use {}", quote(id), known);
}

}  // namespace vibee
