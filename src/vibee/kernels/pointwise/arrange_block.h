// SPDX-License-Identifier: Apache-2.0
// Block programs that move numbers: strided copies, transposes, columns in another order, a choice of two.
#pragma once

#include "vibee/core/device/block.h"
#include "vibee/kernels/pointwise/arrange_launch.h"

namespace vibee {

struct CopyPlace {
  uint64_t x, out;
  bool reads;  // else it is a zero
};
VIBEE_BLOCK CopyPlace copy_place(const StridedCopyArgs& args, uint32_t i) {
  CopyPlace place{args.x_begin, args.out_begin, true};
  for (uint32_t d = args.dims; d-- > 0;) {
    const CopyDim& dim = args.dim[d];
    const uint32_t at = d == 0 ? i : i % dim.size, from = at - dim.first;
    i /= dim.size;
    place.reads = place.reads && from < dim.have;
    place.x += from * dim.x;
    place.out += at * dim.out;
  }
  return place;
}

/// Whether both sides are whole vectors along the last dimension.
template <class T>
VIBEE_BLOCK bool copies_vectors(const StridedCopyArgs& args) {
  constexpr uint32_t kEach = Vector16<T>::kCount;
  const CopyDim& last = args.dim[args.dims - 1];
  uint64_t parts = args.x_begin | args.out_begin | last.size | last.first | last.have;
  for (uint32_t d = 0; d + 1 < args.dims; ++d) parts |= args.dim[d].x | args.dim[d].out;
  return last.x == 1 && last.out == 1 && parts % kEach == 0 && begins_a_vector(static_cast<const T*>(args.x)) &&
         begins_a_vector(static_cast<const T*>(args.out));
}

template <class Block, class T>
VIBEE_BLOCK void strided_copy_block(Block& b, const StridedCopyArgs& args) {
  const auto* x = static_cast<const T*>(args.x);
  auto* out = static_cast<T*>(args.out);
  uint64_t n = 1;
  for (uint32_t d = 0; d < args.dims; ++d) n *= args.dim[d].size;
  const bool vectors = copies_vectors<T>(args);
  const uint32_t each = vectors ? Vector16<T>::kCount : 1;
  const uint64_t begin = uint64_t(b.block_x()) * kCopySpan, left = n - begin;
  for (uint32_t i = b.thread() * each; i < kCopySpan && i < left; i += b.threads() * each) {
    const CopyPlace place = copy_place(args, uint32_t(begin + i));
    if (vectors) {
      Vector16<T> v = {};
      if (place.reads) v = b.load16(x, place.x);
      b.store16(out, place.out, v);
    } else {
      b.store(out, place.out, place.reads ? b.load(x, place.x) : T{});
    }
  }
}

/// Tiles of 32 x 32 by way of shared memory, whose rows are one element longer than a tile's: a column's elements lie
/// in different banks.
template <class Block, class T>
VIBEE_BLOCK void transpose_block(Block& b, const TransposeArgs& args) {
  constexpr uint32_t kSide = kTransposeSide, kRow = kSide + 1;
  const auto* x = static_cast<const T*>(args.x);
  auto* out = static_cast<T*>(args.out);
  const auto tile = shared_array<T>(b, kSide * kRow);
  const uint32_t across = (args.columns + kSide - 1) / kSide;
  const uint32_t row = b.block_x() / across * kSide, column = b.block_x() % across * kSide;
  for (uint32_t r = b.warp(); r < kSide; r += b.warps())
    if (row + r < args.rows && column + b.lane() < args.columns)
      b.store(tile, r * kRow + b.lane(), b.load(x, uint64_t(row + r) * args.columns + column + b.lane()));
  b.sync();
  for (uint32_t c = b.warp(); c < kSide; c += b.warps())
    if (column + c < args.columns && row + b.lane() < args.rows)
      b.store(out, uint64_t(column + c) * args.rows + row + b.lane(), b.load(tile, b.lane() * kRow + c));
}

template <class Block, class T>
VIBEE_BLOCK void permute_columns_block(Block& b, const PermuteColumnsArgs& args) {
  const auto* x = static_cast<const T*>(args.x);
  auto* out = static_cast<T*>(args.out);
  const uint64_t row = uint64_t(b.block_x()) * args.n;
  for (uint32_t i = b.thread(); i < args.n; i += b.threads()) {
    const auto other = uint32_t(b.load(args.order, i));
    b.store(out, row + (args.inverse ? other : i), b.load(x, row + (args.inverse ? i : other)));
  }
}

template <class Block>
VIBEE_BLOCK void select_block(Block& b, const SelectArgs& args) {
  const uint64_t begin = uint64_t(b.block_x()) * kCopySpan, left = args.n - begin;
  for (uint32_t i = b.thread(); i < kCopySpan && i < left; i += b.threads()) {
    const uint64_t at = begin + i;
    b.store(args.out, at, b.load(args.when, at) != 0.0f ? b.load(args.a, at) : b.load(args.b, at));
  }
}

}  // namespace vibee
