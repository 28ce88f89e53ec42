// SPDX-License-Identifier: Apache-2.0
// Elementwise ops as block programs. The formulas are those of base/simd/v16_math.h, with the policy's exp, tanh and
// erfc.
#pragma once

#include "vibee/core/device/block_pieces.h"
#include "vibee/kernels/pointwise/elementwise_launch.h"

namespace vibee {

template <class Block>
VIBEE_BLOCK float block_sigmoid(Block& b, float x) {
  return 1.0f / (1.0f + b.exp(-x));
}

// f(b, x, by)
struct SiluOp {
  template <class Block>
  VIBEE_BLOCK float operator()(Block& b, float x, float) const {
    return x / (1.0f + b.exp(-x));
  }
};
struct GeluTanhOp {
  template <class Block>
  VIBEE_BLOCK float operator()(Block& b, float x, float) const {
    const float u = 0.797884560802865356f * b.fma(0.044715f * x * x, x, x);
    return x / (1.0f + b.exp(-2.0f * u));
  }
};
struct GeluOp {
  template <class Block>
  VIBEE_BLOCK float operator()(Block& b, float x, float) const {
    return 0.5f * x * b.erfc(-0.70710678118654752f * x);
  }
};
struct ScaleOp {
  template <class Block>
  VIBEE_BLOCK float operator()(Block&, float x, float by) const {
    return x * by;
  }
};
struct SoftCapOp {
  template <class Block>
  VIBEE_BLOCK float operator()(Block& b, float x, float by) const {
    return by * b.tanh(x / by);
  }
};
struct CastOp {
  template <class Block>
  VIBEE_BLOCK float operator()(Block&, float x, float) const {
    return x;
  }
};
struct NegOp {
  template <class Block>
  VIBEE_BLOCK float operator()(Block&, float x, float) const {
    return -x;
  }
};
struct AbsOp {
  template <class Block>
  VIBEE_BLOCK float operator()(Block&, float x, float) const {
    return x < 0.0f || x == 0.0f ? 0.0f - x : x;  // of -0 as well
  }
};
struct ExpOp {
  template <class Block>
  VIBEE_BLOCK float operator()(Block& b, float x, float) const {
    return b.exp(x);
  }
};
struct LogOp {
  template <class Block>
  VIBEE_BLOCK float operator()(Block& b, float x, float) const {
    return b.log(x);
  }
};
struct SqrtOp {
  template <class Block>
  VIBEE_BLOCK float operator()(Block& b, float x, float) const {
    return b.sqrt(x);
  }
};
struct TanhOp {
  template <class Block>
  VIBEE_BLOCK float operator()(Block& b, float x, float) const {
    return b.tanh(x);
  }
};

// f'(b, x)
struct SiluSlope {
  template <class Block>
  VIBEE_BLOCK float operator()(Block& b, float x) const {
    const float s = block_sigmoid(b, x);
    return s * b.fma(x, 1.0f - s, 1.0f);
  }
};
struct GeluTanhSlope {  // of x sigmoid(2u): s + x s (1 - s) 2u'
  template <class Block>
  VIBEE_BLOCK float operator()(Block& b, float x) const {
    const float square = x * x, c = 2 * 0.797884560802865356f;
    const float s = block_sigmoid(b, c * b.fma(0.044715f * square, x, x));
    return b.fma(x * s * (1.0f - s), c * b.fma(3 * 0.044715f, square, 1.0f), s);
  }
};
struct GeluSlope {  // Phi(x) + x phi(x)
  template <class Block>
  VIBEE_BLOCK float operator()(Block& b, float x) const {
    const float phi = 0.5f * b.erfc(-0.70710678118654752f * x);
    return b.fma(x * 0.398942280401432678f, b.exp(-0.5f * x * x), phi);
  }
};

// f(a, b)
struct AddOp {
  VIBEE_BLOCK float operator()(float a, float b) const { return a + b; }
};
struct SubOp {
  VIBEE_BLOCK float operator()(float a, float b) const { return a - b; }
};
struct MulOp {
  VIBEE_BLOCK float operator()(float a, float b) const { return a * b; }
};
struct DivOp {
  VIBEE_BLOCK float operator()(float a, float b) const { return a / b; }
};
struct MaximumOp {
  VIBEE_BLOCK float operator()(float a, float b) const { return a > b ? a : b; }
};
struct MinimumOp {
  VIBEE_BLOCK float operator()(float a, float b) const { return a < b ? a : b; }
};
struct LessOp {
  VIBEE_BLOCK float operator()(float a, float b) const { return a < b ? 1.0f : 0.0f; }
};

/// The first of this thread's eight elements.
template <class Block>
VIBEE_BLOCK uint64_t my_piece(Block& b) {
  return (uint64_t(b.block_x()) * b.threads() + b.thread()) * kPiece;
}

template <class Block, class Op, class In, class Out>
VIBEE_BLOCK void unary_block(Block& b, const UnaryArgs& args) {
  const auto* x = static_cast<const In*>(args.x);
  auto* out = static_cast<Out*>(args.out);
  const uint64_t i = my_piece(b);
  if (i >= args.n) return;
  Piece piece = load_piece(b, x, i, args.n - i, begins_a_vector(x));
  for (uint32_t j = 0; j < kPiece; ++j) piece.at[j] = Op{}(b, piece.at[j], args.by);
  store_piece(b, out, i, args.n - i, begins_a_vector(out), piece);
}

/// Eight elements of an operand as its spread says; in vectors where they lie side by side.
template <class Block, class T>
VIBEE_BLOCK Piece load_spread(Block& b, const T* p, const OperandSpread& spread, uint64_t i, uint64_t left) {
  const uint64_t at = i / spread.each % spread.count;
  if (spread.each == 1 && at + kPiece <= spread.count)
    return load_piece(b, p, at, left, begins_a_vector(p) && at % kPiece == 0);
  Piece piece;
  for (uint32_t j = 0; j < kPiece; ++j)
    piece.at[j] = j < left ? b.to_float(b.load(p, (i + j) / spread.each % spread.count)) : 0.0f;
  return piece;
}

template <class Block, class Op, class T>
VIBEE_BLOCK void binary_block(Block& b, const BinaryArgs& args) {
  auto* out = static_cast<T*>(args.out);
  const uint64_t i = my_piece(b);
  if (i >= args.n) return;
  const uint64_t left = args.n - i;
  Piece x = load_spread(b, static_cast<const T*>(args.a), args.spread_a, i, left);
  const Piece y = load_spread(b, static_cast<const T*>(args.b), args.spread_b, i, left);
  for (uint32_t j = 0; j < kPiece; ++j) x.at[j] = Op{}(x.at[j], y.at[j]);
  store_piece(b, out, i, left, begins_a_vector(out), x);
}

/// f(b, x, g) of two arrays of one shape.
template <class Block, class T, class F>
VIBEE_BLOCK void pairs_block(Block& b, const PairArgs& args, F&& f) {
  const auto *x = static_cast<const T*>(args.x), *g = static_cast<const T*>(args.g);
  auto* out = static_cast<T*>(args.out);
  const uint64_t i = my_piece(b);
  if (i >= args.n) return;
  const uint64_t left = args.n - i;
  Piece v = load_piece(b, x, i, left, begins_a_vector(x));
  const Piece w = load_piece(b, g, i, left, begins_a_vector(g));
  for (uint32_t j = 0; j < kPiece; ++j) v.at[j] = f(v.at[j], w.at[j]);
  store_piece(b, out, i, left, begins_a_vector(out), v);
}
/// Gated units (SwiGLU, GeGLU: Shazeer 2020, arXiv:2002.05202).
template <class Block, class Op, class T>
VIBEE_BLOCK void gated_block(Block& b, const PairArgs& args) {
  pairs_block<Block, T>(b, args, [&](float x, float g) { return Op{}(b, x, 0.0f) * g; });
}
template <class Block, class Slope, class T>
VIBEE_BLOCK void activation_dx_block(Block& b, const PairArgs& args) {
  pairs_block<Block, T>(b, args, [&](float x, float g) { return g * Slope{}(b, x); });
}

}  // namespace vibee
