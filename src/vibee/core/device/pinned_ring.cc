// SPDX-License-Identifier: Apache-2.0
#include "vibee/core/device/pinned_ring.h"

#include <algorithm>
#include <cstring>

namespace vibee {

PinnedMemory::~PinnedMemory() {
  if (data_) device_->release(device_->driver().host_free, data_);
}

Result<PinnedMemory> PinnedMemory::create(const std::shared_ptr<CudaDevice>& device, size_t bytes) {
  PinnedMemory out;
  out.device_ = device, out.bytes_ = bytes;
  if (bytes == 0) return out;
  VIBEE_TRY(device->call(
      device->driver().host_alloc, [&] { return fmt::format("{} bytes of pinned host memory", bytes); }, &out.data_,
      bytes, 0u));
  return out;
}

Result<PinnedRing> PinnedRing::create(const std::shared_ptr<CudaDevice>& device, size_t piece_bytes, size_t pieces) {
  if (piece_bytes == 0 || pieces == 0 || piece_bytes > SIZE_MAX / pieces)
    return error(Code::invalid, "a ring of {} pinned pieces of {} bytes cannot be made", pieces, piece_bytes);
  PinnedRing out;
  out.device_ = device, out.piece_bytes_ = piece_bytes;
  VIBEE_ASSIGN(out.memory_, PinnedMemory::create(device, piece_bytes * pieces));
  for (size_t i = 0; i < pieces; ++i) {
    VIBEE_ASSIGN(CudaEvent event, CudaEvent::create(device));
    out.pieces_.push_back({std::move(event), false});
  }
  return out;
}

PinnedRing::~PinnedRing() {
  for (Piece& piece : pieces_)
    if (piece.busy) device_->release(device_->driver().event_synchronize, piece.done.get());
}

Status PinnedRing::wait(size_t piece) {
  Piece& p = pieces_[piece];
  if (!p.busy) return {};
  VIBEE_TRY(p.done.synchronize());
  p.busy = false;
  return {};
}

template <class Copy>
Status PinnedRing::enqueue(const CudaStream& stream, size_t piece, Copy copy) {
  Status status = copy(data(piece));
  if (status.ok()) status = pieces_[piece].done.record(stream);
  pieces_[piece].busy = status.ok();
  // Without its event nobody would know when the piece is free again.
  if (!status.ok()) device_->release(device_->driver().stream_synchronize, stream.get());
  return status;
}

Status PinnedRing::copy_in(const CudaStream& stream, CudaAddress to, std::span<const std::byte> from) {
  for (size_t at = 0; at < from.size(); at += piece_bytes_) {
    const size_t n = std::min(piece_bytes_, from.size() - at), piece = next_;
    next_ = (next_ + 1) % pieces_.size();
    VIBEE_TRY(wait(piece));
    std::memcpy(data(piece), from.data() + at, n);
    VIBEE_TRY(enqueue(stream, piece, [&](std::byte* pinned) {
      return device_->call(
          device_->driver().copy_in, [&] { return fmt::format("{} bytes to {:#x}", n, to + at); }, to + at, pinned, n,
          stream.get());
    }));
  }
  return {};
}

Status PinnedRing::copy_out(const CudaStream& stream, std::span<std::byte> to, CudaAddress from) {
  const size_t first = next_, count = (to.size() + piece_bytes_ - 1) / piece_bytes_;
  const auto bytes_of = [&](size_t i) { return std::min(piece_bytes_, to.size() - i * piece_bytes_); };
  const auto piece_of = [&](size_t i) { return (first + i) % pieces_.size(); };
  const auto empty = [&](size_t i) -> Status {
    VIBEE_TRY(wait(piece_of(i)));
    std::memcpy(to.data() + i * piece_bytes_, data(piece_of(i)), bytes_of(i));
    return {};
  };
  for (size_t i = 0; i < count; ++i) {
    VIBEE_TRY(i >= pieces_.size() ? empty(i - pieces_.size()) : wait(piece_of(i)));
    next_ = piece_of(i + 1);
    const CudaAddress source = from + i * piece_bytes_;
    VIBEE_TRY(enqueue(stream, piece_of(i), [&](std::byte* pinned) {
      return device_->call(
          device_->driver().copy_out, [&] { return fmt::format("{} bytes from {:#x}", bytes_of(i), source); }, pinned,
          source, bytes_of(i), stream.get());
    }));
  }
  for (size_t i = count - std::min(count, pieces_.size()); i < count; ++i) VIBEE_TRY(empty(i));
  return {};
}

}  // namespace vibee
