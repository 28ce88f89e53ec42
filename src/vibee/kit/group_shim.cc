// SPDX-License-Identifier: Apache-2.0
#include "vibee/kit/group_shim.h"

#include <cmath>
#include <cstring>

#include "vibee/base/math/half.h"
#include "vibee/base/status/status.h"
#include "vibee/kit/tensor_tiles.h"

namespace vibee {
namespace {

/// Where byte `at` of a tile lies whose vectors of 16 bytes are exchanged (128B swizzle): bits 4 to 6 by bits 7 to 9.
uint64_t exchanged(uint64_t at) { return at ^ (at >> 7 & 7) << 4; }

}  // namespace

void GroupShim::begin_block(bool early) {
  early_ = early;
  phases_.clear();
  copies_.clear();
  for (Products& p : products_) p.open.clear(), p.sent.clear();
}

std::string GroupShim::left() const {
  if (!copies_.empty())
    return fmt::format("ends while the copy of a tile at {} is under way", copies_.front().place.text());
  for (const Products& p : products_) {
    if (!p.open.empty()) return fmt::format("ends without a commit behind the product at {}", p.open[0].place.text());
    if (!p.sent.empty()) return fmt::format("ends without a wait behind the product at {}", p.sent[0][0].place.text());
  }
  return {};
}

void GroupShim::init(uint32_t thread, uint32_t barrier, uint32_t arrivals, Place place) {
  if (phases_.contains(barrier))
    memory_.fail(thread, fmt::format("initialises the barrier at shared byte {} again: {}", barrier, place.text()));
  Phases& p = phases_[barrier];
  p.arrivals = p.missing = arrivals, p.thread = thread, p.interval = memory_.shadow.order.interval();
}

void GroupShim::publish(uint32_t thread) {
  for (auto& [at, p] : phases_) p.published |= p.thread == thread;
}

GroupShim::Phases& GroupShim::phases(uint32_t thread, uint32_t barrier, Place place) {
  const auto found = phases_.find(barrier);
  if (found == phases_.end())
    memory_.fail(thread, fmt::format("uses shared byte {} as a barrier, which nobody has initialised: {}", barrier,
                                     place.text()));
  Phases& p = found->second;
  if (!p.published || (p.thread != thread && p.interval == memory_.shadow.order.interval()))
    memory_.fail(thread, fmt::format("uses the barrier at shared byte {} before {}: {}", barrier,
                                     p.published ? "a barrier of the block" : "it was published", place.text()));
  return p;
}

void GroupShim::end_phase(Phases& p) {
  if (p.missing > 0 || p.bytes != 0) return;
  p.missing = p.arrivals;
  ++p.phase;
}

void GroupShim::arrive(uint32_t thread, uint32_t barrier, uint32_t bytes, Place place) {
  Phases& p = phases(thread, barrier, place);
  if (p.missing == 0)
    memory_.fail(thread,
                 fmt::format("arrives at the barrier of {}, where all {} have: {}", barrier, p.arrivals, place.text()));
  p.bytes += bytes, --p.missing;
  end_phase(p);
}

bool GroupShim::over(uint32_t thread, uint32_t barrier, uint32_t parity, Place place) {
  return (phases(thread, barrier, place).phase & 1) != parity;
}

void GroupShim::copy(uint32_t thread, uint32_t to, const TensorMap& map, uint32_t column, uint32_t row,
                     uint32_t barrier, Place place) {
  phases(thread, barrier, place);
  if (to % 128 != 0)
    memory_.fail(thread, fmt::format("copies a tile to shared byte {}, no multiple of 128: {}", to, place.text()));
  copies_.push_back({thread, to, column, row, barrier, map, place});
  if (early_) deliver();
}

bool GroupShim::deliver() {
  if (copies_.empty()) return false;
  const Copy copy = copies_.front();
  copies_.pop_front();
  end_copy(copy);
  return true;
}

void GroupShim::end_copy(const Copy& c) {
  TensorTiles tiles;
  std::memcpy(static_cast<void*>(&tiles), &c.map, sizeof tiles);
  if (tiles.mark != TensorTiles::kMark)
    memory_.fail(c.thread, fmt::format("copies a tile of no tensor map: {}", c.place.text()));
  constexpr uint64_t kRow = kBoxColumns * 2;
  if (c.to + tiles.box_rows * kRow > memory_.shared.size())
    memory_.fail(c.thread, fmt::format("copies {} rows to shared byte {} of {}: {}", tiles.box_rows, c.to,
                                       memory_.shared.size(), c.place.text()));
  for (uint64_t r = 0; r < tiles.box_rows; ++r) {
    unsigned char row[kRow] = {};
    const uint64_t from = c.row + r;
    if (from < tiles.rows && c.column < tiles.columns) {
      const uint64_t bytes = std::min<uint64_t>(kBoxColumns, tiles.columns - c.column) * 2;
      const uint64_t at = tiles.base + from * tiles.row_bytes + uint64_t(c.column) * 2;
      std::memcpy(row, memory_.global(c.thread, at, bytes, c.place), bytes);
    }
    for (uint64_t i = 0; i < kRow; i += 16)
      std::memcpy(memory_.shared.data() + exchanged(c.to + r * kRow + i), row + i, 16);
  }
  memory_.shadow.written_by_copy(c.to, uint32_t(tiles.box_rows * kRow));
  Phases& p = phases_.at(c.barrier);
  p.bytes -= int64_t(tiles.box_rows * kRow);
  end_phase(p);
}

void GroupShim::multiply(uint32_t thread, const Product& product) { products_[thread].open.push_back(product); }

void GroupShim::commit(uint32_t thread) {
  Products& mine = products_[thread];
  if (early_) {
    for (const Product& product : mine.open) run(thread, product);
  } else if (!mine.open.empty()) {
    mine.sent.push_back(std::move(mine.open));
  }
  mine.open.clear();
}

void GroupShim::wait(uint32_t thread, uint32_t groups) {
  for (Products& mine = products_[thread]; mine.sent.size() > groups; mine.sent.pop_front())
    for (const Product& product : mine.sent.front()) run(thread, product);
}

float GroupShim::element(uint32_t thread, uint64_t tile, uint32_t row, uint32_t k, const Product& product) {
  const uint64_t at = exchanged(tile + row / 8 * 1024 + row % 8 * 128 + k * 2);
  if (at + 2 > memory_.shared.size() || !memory_.shadow.written(uint32_t(at), 2))
    memory_.fail(thread,
                 fmt::format("multiplies shared byte {}, which nobody has written: {}", at, product.place.text()));
  uint16_t bits;
  std::memcpy(&bits, memory_.shared.data() + at, 2);
  return product.kind == WarpProduct::f16 ? half_to_float(bits) : bf16_to_float(bits);
}

/// The sums that the thread holds (PTX ISA 9.0, 9.7.16.5.2, accumulator fragments), over ascending k.
void GroupShim::run(uint32_t thread, const Product& product) {
  if (product.a % 16 != 0 || product.b % 16 != 0 || product.a % 1024 >= 128 || product.b % 1024 >= 128)
    memory_.fail(thread, fmt::format("multiplies tiles at shared bytes {} and {}, whose rows begin at multiples of "
                                     "1024: {}",
                                     product.a, product.b, product.place.text()));
  const uint32_t lane = thread % kWarp, warp = thread % kGroup / kWarp;
  float left[2][16];
  for (uint32_t half = 0; half < 2; ++half)
    for (uint32_t k = 0; k < 16; ++k)
      left[half][k] = element(thread, product.a, warp * 16 + lane / 4 + half * 8, k, product);
  for (uint32_t column = 0; column < product.columns; column += 8)
    for (uint32_t e = 0; e < 2; ++e) {
      float right[16];
      for (uint32_t k = 0; k < 16; ++k) right[k] = element(thread, product.b, column + lane % 4 * 2 + e, k, product);
      for (uint32_t half = 0; half < 2; ++half) {
        float& d = product.d[column / 2 + half * 2 + e];
        float sum = product.add ? d : 0.0f;
        for (uint32_t k = 0; k < 16; ++k) sum = std::fma(left[half][k], right[k], sum);
        d = sum;
      }
    }
}

}  // namespace vibee
