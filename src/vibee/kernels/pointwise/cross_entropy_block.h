// SPDX-License-Identifier: Apache-2.0
// The loss of a row of logits and its gradient: a pass for the largest, one for the sum, one for the gradient, whose
// bytes are those of GradientKernels::cross_entropy_dx with the same sum.
#pragma once

#include "vibee/core/device/block_exp2.h"
#include "vibee/core/device/block_log2.h"
#include "vibee/core/device/block_pieces.h"
#include "vibee/core/device/block_reduce.h"
#include "vibee/kernels/pointwise/cross_entropy_launch.h"

namespace vibee {

/// The row of the block; its logits are those with bias and cap once `finish` went over them.
struct LogitRow {
  float* p;
  uint64_t at;
  uint32_t n, first, step;
  bool aligned;

  template <class Block>
  VIBEE_BLOCK LogitRow(Block& b, const CrossEntropyArgs& args)
      : p(args.logits),
        at(uint64_t(b.block_x()) * args.n),
        n(args.n),
        first(b.thread() * kPiece),
        step(b.threads() * kPiece),
        aligned(rows_of_vectors(args.logits, args.n)) {}
  template <class Block>
  VIBEE_BLOCK Piece load(Block& b, uint32_t i) const {
    return load_piece(b, p, at + i, n - i, aligned);
  }
  /// f(i, piece) of this thread's pieces.
  template <class Block, class F>
  VIBEE_BLOCK void each(Block& b, F&& f) const {
    for (uint32_t i = first; i < n; i += step) f(i, load(b, i));
  }
  template <class Block>
  VIBEE_BLOCK void finish(Block& b, const CrossEntropyArgs& args) const {
    if (args.bias == nullptr && !(args.cap > 0)) return;
    const bool whole = args.bias != nullptr && begins_a_vector(args.bias);
    each(b, [&](uint32_t i, Piece v) {
      if (args.bias != nullptr) {
        const Piece w = load_piece(b, args.bias, i, n - i, whole);
        for (uint32_t j = 0; j < kPiece; ++j) v.at[j] = v.at[j] + w.at[j];
      }
      if (args.cap > 0)
        for (uint32_t j = 0; j < kPiece; ++j) v.at[j] = args.cap * block_tanh(b, v.at[j] / args.cap);
      store_piece(b, p, at + i, n - i, aligned, v);
    });
  }
};

template <class Block>
VIBEE_BLOCK float block_exp(Block& b, float x) {
  constexpr float kLog2 = kLog2E;
  return block_exp2(b, x * kLog2);
}

/// Log of the sum of e^logit; thread 0 stores it, and the loss.
template <class Block, class Room>
VIBEE_BLOCK float sum_row(Block& b, const CrossEntropyArgs& args, const LogitRow& x, Room room, uint32_t row,
                          uint32_t target) {
  const TakeLarger larger;
  float most = -__builtin_huge_valf(), rest = 0;
  x.each(b, [&](uint32_t i, const Piece& v) {
    for (uint32_t j = 0; j < kPiece; ++j)
      if (j < x.n - i) most = larger(v.at[j], most);
  });
  most = block_reduce(b, room, most, -__builtin_huge_valf(), larger);
  x.each(b, [&](uint32_t i, const Piece& v) {
    for (uint32_t j = 0; j < kPiece; ++j)
      if (j < x.n - i) rest = rest + block_exp(b, v.at[j] - most);
  });
  rest = block_sum(b, room, rest);
  if (b.thread() == 0) {
    const double sum = double(most) + block_log2(double(rest)) * 0.69314718055994530942;
    b.store(args.sums, row, float(sum));
    if (args.losses != nullptr)
      b.store(args.losses, row, float(double(b.load(args.factors, row)) * (sum - double(b.load(x.p, x.at + target)))));
    b.store(room, 0, float(sum));
  }
  b.sync();
  return b.load(room, 0);
}

template <class Block, class Out>
VIBEE_BLOCK void cross_entropy_block(Block& b, const CrossEntropyArgs& args) {
  const LogitRow x(b, args);
  const uint32_t row = args.rows != nullptr ? b.load(args.rows, b.block_x()) : b.block_x();
  const uint32_t target = uint32_t(b.load(args.targets, row));
  const auto room = shared_array<float>(b, kReduceRoom);
  auto* const slopes = static_cast<Out*>(args.slopes);
  const bool writes = rows_of_vectors(slopes, x.n);
  if (target >= x.n) {
    if (b.thread() == 0 && !args.known) {
      b.store(args.sums, row, 0.0f);
      if (args.losses != nullptr) b.store(args.losses, row, 0.0f);
    }
    for (uint32_t i = x.first; i < x.n && slopes != nullptr; i += x.step)
      store_piece(b, slopes, x.at + i, x.n - i, writes, Piece{});
    return;
  }
  x.finish(b, args);  // a thread's own pieces; the target's is read behind barriers
  const float sum = args.known ? b.load(args.sums, row) : sum_row(b, args, x, room, row, target);
  if (slopes == nullptr) return;
  const float by = b.load(args.by, 0) * b.load(args.factors, row);
  x.each(b, [&](uint32_t i, Piece v) {
    for (uint32_t j = 0; j < kPiece; ++j) {
      const float share = block_exp(b, v.at[j] - sum), t = v.at[j] / args.cap;
      const float slope = args.cap > 0 ? by * (1.0f - t * t) : by;
      v.at[j] = (i + j == target ? share - 1.0f : share) * slope;
    }
    store_piece(b, slopes, x.at + i, x.n - i, writes, v);
  });
}

}  // namespace vibee
