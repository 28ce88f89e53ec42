// SPDX-License-Identifier: Apache-2.0
// Owned memory for weights, pages and arenas: zeroed, 64-byte aligned, on transparent huge pages where the kernel gives
// them (15 to 30 % of read bandwidth on the machines measured).
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "vibee/base/status/status.h"

namespace vibee {

class HugeBuffer {
 public:
  HugeBuffer() = default;
  HugeBuffer(HugeBuffer&& other) noexcept { *this = std::move(other); }
  HugeBuffer& operator=(HugeBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(mapped_, other.mapped_);
    return *this;
  }
  ~HugeBuffer();
  /// `size` bytes of zeros; Code::no_memory when the system refuses.
  static Result<HugeBuffer> allocate(uint64_t size);
  uint8_t* data() const { return data_; }
  uint64_t size() const { return size_; }
  template <class T>
  T* as(uint64_t offset = 0) const {
    return reinterpret_cast<T*>(data_ + offset);
  }

 private:
  uint8_t* data_ = nullptr;
  uint64_t size_ = 0;
  uint64_t mapped_ = 0;
};

/// Bytes of memory that can still be had without swapping (MemAvailable, or the cgroup's limit where that is lower).
uint64_t available_memory();
/// Resident set of this process in bytes, now and at its highest.
uint64_t resident_memory();
uint64_t peak_resident_memory();
/// The peak counts from now on, where the system lets it.
void reset_peak_resident_memory();
/// Hands freed heap memory back to the system, where the C library can, and unmaps code that may have been needed for
/// what is over: it is read again from the page cache where it is not. For the end of a phase, never the hot path.
void return_free_memory();

}  // namespace vibee
