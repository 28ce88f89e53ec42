// SPDX-License-Identifier: Apache-2.0
// Copies between ordinary memory and a device, through a ring of pieces of pinned memory: while the device copies one
// piece, the host fills or empties another.
#pragma once

#include <span>
#include <vector>

#include "vibee/core/device/cuda_stream.h"

namespace vibee {

/// Memory of the host that is not paged out, which alone is copied asynchronously.
class PinnedMemory {
 public:
  PinnedMemory() = default;
  PinnedMemory(PinnedMemory&& other) noexcept { *this = std::move(other); }
  PinnedMemory& operator=(PinnedMemory&& other) noexcept {
    std::swap(device_, other.device_), std::swap(data_, other.data_), std::swap(bytes_, other.bytes_);
    return *this;
  }
  /// No copy from or to it may be under way.
  ~PinnedMemory();
  static Result<PinnedMemory> create(const std::shared_ptr<CudaDevice>& device, size_t bytes);
  std::byte* data() const { return static_cast<std::byte*>(data_); }
  std::span<std::byte> span() const { return {data(), bytes_}; }

 private:
  std::shared_ptr<CudaDevice> device_;
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

/// Of one thread at a time.
class PinnedRing {
 public:
  PinnedRing() = default;
  PinnedRing(PinnedRing&& other) noexcept { *this = std::move(other); }
  PinnedRing& operator=(PinnedRing&& other) noexcept {
    std::swap(device_, other.device_), std::swap(piece_bytes_, other.piece_bytes_), std::swap(next_, other.next_);
    std::swap(memory_, other.memory_), std::swap(pieces_, other.pieces_);
    return *this;
  }
  /// Waits for copies under way.
  ~PinnedRing();
  static Result<PinnedRing> create(const std::shared_ptr<CudaDevice>& device, size_t piece_bytes, size_t pieces);

  /// Returns when `from` has been read; the copies are on the stream.
  Status copy_in(const CudaStream& stream, CudaAddress to, std::span<const std::byte> from);
  /// Returns when `to` has been written, behind all that the stream was given before.
  Status copy_out(const CudaStream& stream, std::span<std::byte> to, CudaAddress from);

 private:
  struct Piece {
    CudaEvent done;
    bool busy = false;
  };
  std::byte* data(size_t piece) const { return memory_.data() + piece * piece_bytes_; }
  Status wait(size_t piece);
  template <class Copy>
  Status enqueue(const CudaStream& stream, size_t piece, Copy copy);

  std::shared_ptr<CudaDevice> device_;
  size_t piece_bytes_ = 0, next_ = 0;
  PinnedMemory memory_;
  std::vector<Piece> pieces_;
};

}  // namespace vibee
