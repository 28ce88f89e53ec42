// SPDX-License-Identifier: Apache-2.0
#include "vibee/kit/shared_shadow.h"

#include <fmt/core.h>

#include <algorithm>
#include <string_view>

namespace vibee {

std::string Place::text() const {
  const std::string_view path = file;
  const size_t slash = path.rfind('/');
  return fmt::format("{}:{}", slash == path.npos ? path : path.substr(slash + 1), line);
}

ThreadOrder::ThreadOrder(uint32_t threads) : clocks_(threads) {
  for (uint32_t t = 0; t < threads; ++t) clocks_[t][t % 32] = 1;
}

void ThreadOrder::sync_lanes(uint32_t warp, uint32_t mask) {
  std::array<uint32_t, 32> known{};
  for (uint32_t lane = 0; lane < 32; ++lane)
    if (mask >> lane & 1)
      for (uint32_t i = 0; i < 32; ++i) known[i] = std::max(known[i], clocks_[warp * 32 + lane][i]);
  for (uint32_t lane = 0; lane < 32; ++lane)
    if (mask >> lane & 1) {
      clocks_[warp * 32 + lane] = known;
      ++clocks_[warp * 32 + lane][lane];
    }
}

void SharedShadow::begin_block() {
  order.sync_block();
  first_interval_ = order.interval();
}

SharedShadow::Mark SharedShadow::mark(uint32_t thread, Touch how, Place place) const {
  return {place.file, order.interval(), place.line, order.clock(thread), uint16_t(thread), how};
}

bool SharedShadow::conflicts(const Mark& other, uint32_t thread, Touch how) const {
  if (how == Touch::atomic && other.touch == Touch::atomic) return false;
  return !order.before(other.thread, other.interval, other.clock, thread);
}

void SharedShadow::remember_read(Byte& byte, const Mark& mark) {
  for (Mark& kept : byte.reads)
    if (kept.interval == mark.interval && kept.thread / 32 == mark.thread / 32) {
      kept = mark;
      return;
    }
  (byte.reads[0].interval < mark.interval ? byte.reads[0] : byte.reads[1]) = mark;
}

SharedShadow::Finding SharedShadow::touch(uint32_t thread, uint32_t at, uint32_t n, Touch how, Place place) {
  const Mark mine = mark(thread, how, place);
  const auto found = [](Finding::Kind kind, uint32_t byte, const Mark& other) {
    return Finding{kind, byte, other.thread, {other.file, other.line}, other.touch};
  };
  for (uint32_t i = at; i < at + n; ++i) {
    Byte& byte = bytes_[i];
    if (byte.copy.interval >= first_interval_) return found(Finding::in_flight, i, byte.copy);
    if (how != Touch::write && byte.written < first_interval_) return found(Finding::unwritten, i, mine);
    if (conflicts(byte.write, thread, how)) return found(Finding::race, i, byte.write);
    if (how == Touch::read) {
      remember_read(byte, mine);
      continue;
    }
    for (const Mark& read : byte.reads)
      if (conflicts(read, thread, how)) return found(Finding::race, i, read);
    byte.write = mine;
    byte.written = mine.interval;
  }
  return {};
}

SharedShadow::Finding SharedShadow::begin_copy(uint32_t thread, uint32_t at, uint32_t n, Place place) {
  const Finding finding = touch(thread, at, n, Touch::write, place);
  if (finding.kind == Finding::none)
    for (uint32_t i = at; i < at + n; ++i) bytes_[i].copy = mark(thread, Touch::write, place);
  return finding;
}

SharedShadow::Finding SharedShadow::end_copy(uint32_t thread, uint32_t at, uint32_t n, Place place) {
  for (uint32_t i = at; i < at + n; ++i) bytes_[i].copy = Mark{};
  return touch(thread, at, n, Touch::write, place);
}

void SharedShadow::written_by_copy(uint32_t at, uint32_t n) {
  for (uint32_t i = at; i < at + n; ++i) bytes_[i].written = order.interval();
}

bool SharedShadow::written(uint32_t at, uint32_t n) const {
  for (uint32_t i = at; i < at + n; ++i)
    if (bytes_[i].written < first_interval_) return false;
  return true;
}

}  // namespace vibee
