// SPDX-License-Identifier: Apache-2.0
// What the kernels of arrange_block.inc take and how they are launched: they move numbers and compute nothing, so their
// names end in the bits of an element. A grid of no blocks is not to be launched.
#pragma once

#include "vibee/core/device/launch_shape.h"

namespace vibee {

constexpr uint32_t kCopyDims = 6;

/// A dimension of what a copy writes. Of its `size` elements number i reads number i - first of x, where it has `have`
/// of them; zeros stand for the others. Strides count elements; a stride of 0 in x repeats.
struct CopyDim {
  uint32_t size = 1, first = 0, have = 1;
  uint64_t x = 0, out = 0;
};
/// reshape, slice, concat, expand, pad, transpose of more than two dimensions: the last dimension is the fastest. At
/// most 2^32 - 1 elements; out does not overlap x.
struct StridedCopyArgs {
  const void* x = nullptr;
  void* out = nullptr;
  uint64_t x_begin = 0, out_begin = 0;  ///< elements before the first
  uint32_t dims = 1;
  CopyDim dim[kCopyDims];
};

/// out [columns][rows] of x [rows][columns].
struct TransposeArgs {
  const void* x;
  void* out;
  uint32_t rows, columns;
};

/// out[r][i] = x[r][order[i]] in rows of n; `inverse`: out[r][order[i]] = x[r][i]. The order is whole numbers below n,
/// which who makes it checks. Not in place.
struct PermuteColumnsArgs {
  const void* x;
  const float* order;
  void* out;
  uint32_t n, inverse;
};

/// out[i] = when[i] != 0 ? a[i] : b[i]; in place allowed.
struct SelectArgs {
  const float *when, *a, *b;
  float* out;
  uint64_t n;
};

/// A block copies so many elements.
constexpr uint32_t kCopySpan = 2048, kArrangeThreads = 256, kTransposeSide = 32;

constexpr uint64_t copied_elements(const StridedCopyArgs& args) {
  uint64_t n = 1;
  for (uint32_t d = 0; d < args.dims; ++d) n *= args.dim[d].size;
  return n;
}
constexpr LaunchShape strided_copy_launch(const StridedCopyArgs& args) {
  return {{uint32_t((copied_elements(args) + kCopySpan - 1) / kCopySpan), 1, 1}, kArrangeThreads, 0};
}
constexpr LaunchShape transpose_launch(uint32_t rows, uint32_t columns) {
  const auto tiles = [](uint32_t n) { return (n + kTransposeSide - 1) / kTransposeSide; };
  return {{tiles(rows) * tiles(columns), 1, 1}, kArrangeThreads, 0};
}
constexpr LaunchShape permute_columns_launch(uint32_t rows, uint32_t n) {
  return {{rows, 1, 1}, threads_for(n, kArrangeThreads), 0};
}
constexpr LaunchShape select_launch(uint64_t n) {
  return {{uint32_t((n + kCopySpan - 1) / kCopySpan), 1, 1}, kArrangeThreads, 0};
}

/// rows x columns of a matrix whose rows are ld_x apart, from (0, x_begin) on, to one whose rows are ld_out apart, from
/// (0, out_begin) on: slice reads behind an x_begin, concat writes each of its parts behind an out_begin.
constexpr StridedCopyArgs copy_columns(const void* x, uint64_t ld_x, uint64_t x_begin, void* out, uint64_t ld_out,
                                       uint64_t out_begin, uint32_t rows, uint32_t columns) {
  return {x, out, x_begin, out_begin, 2, {{rows, 0, rows, ld_x, ld_out}, {columns, 0, columns, 1, 1}}};
}
/// Rows with `before` zeros before and `after` behind them.
constexpr StridedCopyArgs pad_columns(const void* x, void* out, uint32_t rows, uint32_t columns, uint32_t before,
                                      uint32_t after) {
  const uint32_t wide = before + columns + after;
  return {x, out, 0, 0, 2, {{rows, 0, rows, columns, wide}, {wide, before, columns, 1, 1}}};
}
/// n elements as they are: reshape.
constexpr StridedCopyArgs copy_whole(const void* x, void* out, uint32_t n) {
  return {x, out, 0, 0, 1, {{n, 0, n, 1, 1}}};
}
/// n zeros.
constexpr StridedCopyArgs fill_zeros(void* out, uint32_t n) { return {nullptr, out, 0, 0, 1, {{n, 0, 0, 1, 1}}}; }
/// x of the sizes `from` repeated to `sizes`, both of `dims` dimensions: a size of 1 repeats (expand; leading ones
/// stand for dimensions that x does not have).
constexpr StridedCopyArgs expand_copy(const void* x, const uint32_t* from, void* out, const uint32_t* sizes,
                                      uint32_t dims) {
  StridedCopyArgs args{x, out, 0, 0, dims, {}};
  uint64_t in_stride = 1, out_stride = 1;
  for (uint32_t d = dims; d-- > 0;) {
    args.dim[d] = {sizes[d], 0, sizes[d], from[d] == 1 ? 0 : in_stride, out_stride};
    in_stride *= from[d], out_stride *= sizes[d];
  }
  return args;
}

}  // namespace vibee
