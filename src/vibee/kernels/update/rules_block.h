// SPDX-License-Identifier: Apache-2.0
// The rules as block programs, by the operations of <id>_kernel.h in the same order: the bytes are the CPU's.
#pragma once

#include "vibee/core/device/block_pieces.h"
#include "vibee/kernels/update/rules_launch.h"

namespace vibee {

/// A thread's eight elements: load(p) and store(p, piece) of an array.
template <class Block>
struct RulePiece {
  Block& b;
  uint64_t i, left;
  VIBEE_BLOCK Piece load(const float* p) const { return load_piece(b, p, i, left, begins_a_vector(p)); }
  VIBEE_BLOCK void store(float* p, const Piece& piece) const { store_piece(b, p, i, left, begins_a_vector(p), piece); }
};
template <class Block>
VIBEE_BLOCK RulePiece<Block> rule_piece(Block& b, uint64_t n) {
  const uint64_t i = (uint64_t(b.block_x()) * b.threads() + b.thread()) * kPiece;
  return {b, i, i < n ? n - i : 0};
}

template <class Block>
VIBEE_BLOCK void adamw_block(Block& b, const RuleArgs& args) {
  const float beta1 = args.constants[0], beta2 = args.constants[1], keep = args.constants[2], rate = args.constants[3],
              root = args.constants[4], eps = args.constants[5];
  const auto mine = rule_piece(b, args.n);
  if (mine.left == 0) return;
  const Piece g = mine.load(args.g);
  Piece w = mine.load(args.w), m = mine.load(args.moments[0]), v = mine.load(args.moments[1]);
  for (uint32_t j = 0; j < kPiece; ++j) {
    const float x = g.at[j] * args.scale;
    m.at[j] = b.fma(1.0f - beta1, x, beta1 * m.at[j]);
    v.at[j] = b.fma((1.0f - beta2) * x, x, beta2 * v.at[j]);
    const float by = m.at[j] / b.fma(b.sqrt(v.at[j]), root, eps);
    w.at[j] = b.fma(-rate, by, w.at[j] * keep);
  }
  mine.store(args.moments[0], m);
  mine.store(args.moments[1], v);
  mine.store(args.w, w);
}

template <class Block>
VIBEE_BLOCK void sgd_block(Block& b, const RuleArgs& args) {
  const float momentum = args.constants[0], decay = args.constants[1], of_gradient = args.constants[2],
              of_moment = args.constants[3], rate = args.constants[4];
  const auto mine = rule_piece(b, args.n);
  if (mine.left == 0) return;
  Piece by = mine.load(args.g), w = mine.load(args.w);
  for (uint32_t j = 0; j < kPiece; ++j) by.at[j] = b.fma(decay, w.at[j], by.at[j] * args.scale);
  if (momentum != 0.0f) {  // else there is no moment
    Piece m = mine.load(args.moments[0]);
    for (uint32_t j = 0; j < kPiece; ++j) {
      m.at[j] = b.fma(momentum, m.at[j], by.at[j]);
      by.at[j] = b.fma(of_moment, m.at[j], of_gradient * by.at[j]);
    }
    mine.store(args.moments[0], m);
  }
  for (uint32_t j = 0; j < kPiece; ++j) w.at[j] = b.fma(-rate, by.at[j], w.at[j]);
  mine.store(args.w, w);
}

template <class Block>
VIBEE_BLOCK void lion_block(Block& b, const RuleArgs& args) {
  const float beta1 = args.constants[0], beta2 = args.constants[1], keep = args.constants[2], rate = args.constants[3];
  const auto mine = rule_piece(b, args.n);
  if (mine.left == 0) return;
  const Piece g = mine.load(args.g);
  Piece w = mine.load(args.w), m = mine.load(args.moments[0]);
  for (uint32_t j = 0; j < kPiece; ++j) {
    const float x = g.at[j] * args.scale, old = m.at[j], to = b.fma(1.0f - beta1, x, beta1 * old);
    const float by = to > 0.0f ? 1.0f : to < 0.0f ? -1.0f : 0.0f;
    m.at[j] = b.fma(1.0f - beta2, x, beta2 * old);
    w.at[j] = b.fma(-rate, by, w.at[j] * keep);
  }
  mine.store(args.moments[0], m);
  mine.store(args.w, w);
}

}  // namespace vibee
