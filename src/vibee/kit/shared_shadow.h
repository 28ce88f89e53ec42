// SPDX-License-Identifier: Apache-2.0
// What the shim knows about each byte of a block's shared memory: who wrote and read it last, where, and in which
// interval between barriers; and when accesses of two threads are ordered. After Flanagan and Freund, "FastTrack"
// (PLDI 2009): epochs instead of clocks for the block's barriers, vector clocks inside a warp alone.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace vibee {

/// A line of a block program.
struct Place {
  const char* file = "";
  uint32_t line = 0;
  static constexpr Place here(const char* file = __builtin_FILE(), uint32_t line = __builtin_LINE()) {
    return {file, line};
  }
  /// file:line, without the folders.
  std::string text() const;
  friend bool operator==(const Place& a, const Place& b) { return a.line == b.line && a.file == b.file; }
};

/// The order of the memory accesses of a block's threads. Barriers of the block begin a new interval; those of a warp
/// order the lanes that took part.
class ThreadOrder {
 public:
  explicit ThreadOrder(uint32_t threads);
  void sync_block() { ++interval_; }
  void sync_lanes(uint32_t warp, uint32_t mask);
  uint64_t interval() const { return interval_; }
  uint32_t clock(uint32_t thread) const { return clocks_[thread][thread % 32]; }
  /// Whether what `thread` did at its `clock` in `interval` comes before what `now` does.
  bool before(uint32_t thread, uint64_t interval, uint32_t clock, uint32_t now) const {
    return thread == now || interval < interval_ || (thread / 32 == now / 32 && clocks_[now][thread % 32] >= clock);
  }

 private:
  uint64_t interval_ = 1;
  std::vector<std::array<uint32_t, 32>> clocks_;  // of a thread: what it knows of each lane of its warp
};

/// How a thread touches shared memory.
enum class Touch : uint8_t { read, write, atomic };

class SharedShadow {
 public:
  SharedShadow(uint32_t bytes, uint32_t threads) : order(threads), bytes_(bytes) {}

  /// A block begins: nothing is written yet.
  void begin_block();
  /// `thread` touches bytes [at, at + n); what is wrong with that, or nothing. `who` is of the other thread.
  struct Finding {
    enum Kind { none, unwritten, race, in_flight } kind = none;
    uint32_t byte = 0, thread = 0;
    Place place;
    Touch touch = Touch::read;
  };
  Finding touch(uint32_t thread, uint32_t at, uint32_t n, Touch how, Place place);
  /// A cp.async towards the bytes is issued, or has been waited for.
  Finding begin_copy(uint32_t thread, uint32_t at, uint32_t n, Place place);
  Finding end_copy(uint32_t thread, uint32_t at, uint32_t n, Place place);
  /// A copy that barriers of phases order, not those of the block, has come; whether somebody has written bytes.
  void written_by_copy(uint32_t at, uint32_t n);
  bool written(uint32_t at, uint32_t n) const;

  ThreadOrder order;

 private:
  struct Mark {
    const char* file = nullptr;
    uint64_t interval = 0;
    uint32_t line = 0, clock = 0;
    uint16_t thread = 0;
    Touch touch = Touch::read;
  };
  struct Byte {
    Mark write;
    // Of two warps where two have read. Of one warp the last reader stands for all: what is ordered behind it by a
    // barrier of the whole warp is behind the others as well.
    Mark reads[2];
    Mark copy;
    uint64_t written = 0;  // the interval of the first write of this block, 0: none
  };
  Mark mark(uint32_t thread, Touch how, Place place) const;
  bool conflicts(const Mark& other, uint32_t thread, Touch how) const;
  void remember_read(Byte& byte, const Mark& mark);

  std::vector<Byte> bytes_;
  uint64_t first_interval_ = 1;
};

}  // namespace vibee
