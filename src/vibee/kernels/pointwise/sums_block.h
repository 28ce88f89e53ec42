// SPDX-License-Identifier: Apache-2.0
// Sums in double as block programs (sums_launch.h).
#pragma once

#include "vibee/core/device/block_pieces.h"
#include "vibee/kernels/pointwise/sums_launch.h"

namespace vibee {

struct AsIs {
  VIBEE_BLOCK double operator()(float v) const { return double(v); }
};
struct Squared {
  VIBEE_BLOCK double operator()(float v) const { return double(v) * double(v); }
};

/// Of all threads' numbers, by a tree; thread 0 has it.
template <class Block>
VIBEE_BLOCK double sum_of_threads(Block& b, double sum) {
  const auto room = shared_array<double>(b, kSumThreads);
  b.store(room, b.thread(), sum);
  for (uint32_t half = kSumThreads / 2; half > 0; half /= 2) {
    b.sync();
    if (b.thread() < half) b.store(room, b.thread(), b.load(room, b.thread()) + b.load(room, b.thread() + half));
  }
  return b.thread() == 0 ? b.load(room, 0) : 0.0;
}

template <class Block, class T, class F>
VIBEE_BLOCK void sum_block(Block& b, const SumArgs& args) {
  const auto* x = static_cast<const T*>(args.x);
  const uint64_t begin = uint64_t(b.block_x()) * kSumEach;
  const uint64_t end = args.n - begin < kSumEach ? args.n : begin + kSumEach;
  const bool aligned = begins_a_vector(x);
  const F f;
  double sum = 0;
  for (uint64_t i = begin + b.thread() * kPiece; i < end; i += kSumThreads * kPiece) {
    const Piece v = load_piece(b, x, i, end - i, aligned);
    for (uint32_t j = 0; j < kPiece; ++j) sum = sum + f(v.at[j]);
  }
  sum = sum_of_threads(b, sum);
  if (b.thread() == 0) b.store(args.parts, b.block_x(), sum);
}

template <class Block>
VIBEE_BLOCK void sum_parts_block(Block& b, const SumPartsArgs& args) {
  double sum = 0;
  for (uint64_t i = b.thread(); i < args.n; i += kSumThreads) sum = sum + b.load(args.parts, i);
  sum = sum_of_threads(b, sum);
  if (b.thread() != 0) return;
  b.store(args.out, 0, sum);
  if (args.rounded != nullptr) b.store(args.rounded, 0, float(sum));
}

}  // namespace vibee
