// SPDX-License-Identifier: Apache-2.0
// Block programs over rows: gather, softmax, rotary position.
#pragma once

#include <cmath>

#include "vibee/core/device/block_pieces.h"
#include "vibee/core/device/block_reduce.h"
#include "vibee/kernels/pointwise/rows_launch.h"

namespace vibee {

template <class Block, class In, class Out>
VIBEE_BLOCK void gather_block(Block& b, const GatherArgs& args) {
  const auto* table = static_cast<const In*>(args.table);
  auto* out = static_cast<Out*>(args.out);
  const uint32_t n = args.n, id = uint32_t(b.load(args.ids, b.block_x()));
  const bool reads = rows_of_vectors(table, n), writes = rows_of_vectors(out, n);
  for (uint32_t i = b.thread() * kPiece; i < n; i += b.threads() * kPiece) {
    Piece piece = {};
    if (id < args.count) piece = load_piece(b, table, uint64_t(id) * n + i, n - i, reads);
    store_piece(b, out, uint64_t(b.block_x()) * n + i, n - i, writes, piece);
  }
}

/// e^(x - largest) over its sum.
template <class Block, class T>
VIBEE_BLOCK void softmax_block(Block& b, const SoftmaxArgs& args) {
  const uint32_t n = args.n;
  const auto* x = static_cast<const T*>(args.x);
  auto* out = static_cast<T*>(args.out);
  const uint64_t at = uint64_t(b.block_x()) * n;
  const bool reads = rows_of_vectors(x, n), writes = rows_of_vectors(out, n);
  const auto room = shared_array<float>(b, kReduceRoom);
  const TakeLarger larger;
  const uint32_t first = b.thread() * kPiece, step = b.threads() * kPiece;
  float most = -INFINITY;
  for (uint32_t i = first; i < n; i += step) {
    const Piece v = load_piece(b, x, at + i, n - i, reads);
    for (uint32_t j = 0; j < kPiece; ++j)
      if (j < n - i) most = larger(v.at[j], most);
  }
  most = block_reduce(b, room, most, -INFINITY, larger);
  float sum = 0;
  for (uint32_t i = first; i < n; i += step) {
    const Piece v = load_piece(b, x, at + i, n - i, reads);
    for (uint32_t j = 0; j < kPiece; ++j)
      if (j < n - i) sum = sum + b.exp(v.at[j] - most);
  }
  const float by = 1.0f / block_sum(b, room, sum);
  for (uint32_t i = first; i < n; i += step) {
    Piece v = load_piece(b, x, at + i, n - i, reads);
    for (uint32_t j = 0; j < kPiece; ++j) v.at[j] = b.exp(v.at[j] - most) * by;
    store_piece(b, out, at + i, n - i, writes, v);
  }
}

/// Angles in double, as on the CPU: position times frequency has no digit to lose.
template <class Block>
VIBEE_BLOCK void rope_table_block(Block& b, const RopeTableArgs& args) {
  const double position = b.load(args.positions, b.block_x());
  const uint64_t at = uint64_t(b.block_x()) * 2 * args.pairs;
  for (uint32_t i = b.thread(); i < args.pairs; i += b.threads()) {
    double sine, cosine;
    b.sincos(position * b.load(args.frequencies, i), &sine, &cosine);
    b.store(args.out, at + i, float(args.by * cosine));
    b.store(args.out, at + args.pairs + i, float(args.by * sine));
  }
}

VIBEE_BLOCK void turn(float& one, float& two, float cosine, float sine) {
  const float x = one, y = two;
  one = x * cosine - y * sine;
  two = x * sine + y * cosine;
}

/// A thread turns eight pairs of a head, or copies eight elements behind them.
template <class Block, class T>
VIBEE_BLOCK void rope_block(Block& b, const RopeArgs& args) {
  const auto* x = static_cast<const T*>(args.x);
  auto* out = static_cast<T*>(args.out);
  const uint32_t pairs = args.pairs, head_dim = args.head_dim, turned = uint32_t(pieces(pairs));
  const uint32_t each = turned + uint32_t(pieces(head_dim - 2 * pairs));
  const uint64_t row = uint64_t(b.block_x()) * args.width, cosines = uint64_t(b.block_x()) * 2 * pairs,
                 sines = cosines + pairs;
  const bool whole = pairs % kPiece == 0, tables = whole && begins_a_vector(args.table);
  const bool reads = whole && rows_of_vectors(x, args.width) && head_dim % kPiece == 0;
  const bool writes = whole && rows_of_vectors(out, args.width) && head_dim % kPiece == 0;
  for (uint32_t unit = b.thread(); unit < args.width / head_dim * each; unit += b.threads()) {
    const uint64_t head = row + uint64_t(unit / each) * head_dim;
    const uint32_t part = unit % each;
    if (part >= turned) {
      const uint32_t i = 2 * pairs + (part - turned) * kPiece;
      store_piece(b, out, head + i, head_dim - i, writes, load_piece(b, x, head + i, head_dim - i, reads));
      continue;
    }
    const uint32_t i = part * kPiece, left = pairs - i;
    const Piece c = load_piece(b, args.table, cosines + i, left, tables);
    const Piece s = load_piece(b, args.table, sines + i, left, tables);
    // Sixteen elements: two halves of a head, or side by side.
    const uint64_t at0 = head + (args.split ? i : 2 * i), at1 = args.split ? at0 + pairs : at0 + kPiece;
    const uint32_t left0 = args.split ? left : 2 * left,
                   left1 = args.split ? left : (2 * left > kPiece ? 2 * left - kPiece : 0);
    Piece p = load_piece(b, x, at0, left0, reads), q = load_piece(b, x, at1, left1, reads);
    if (args.split) {
      for (uint32_t j = 0; j < kPiece; ++j) turn(p.at[j], q.at[j], c.at[j], args.direction * s.at[j]);
    } else {
      for (uint32_t j = 0; j < kPiece; j += 2) {
        turn(p.at[j], p.at[j + 1], c.at[j / 2], args.direction * s.at[j / 2]);
        turn(q.at[j], q.at[j + 1], c.at[(kPiece + j) / 2], args.direction * s.at[(kPiece + j) / 2]);
      }
    }
    store_piece(b, out, at0, left0, writes, p);
    store_piece(b, out, at1, left1, writes, q);
  }
}

}  // namespace vibee
