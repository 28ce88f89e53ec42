// SPDX-License-Identifier: Apache-2.0
// Products by weights in panels of small floats behind scales, with the bytes of the CPU's (fgemm.h): values are
// decoded on the way into shared memory, and every sum is one chain of fma over ascending k. Many rows are tiles of the
// product of floats; few rows read each panel once, warps decoding the depth in rounds for the chains of the round
// before.
#pragma once

#include "vibee/kernels/gemm/fgemm_block.h"
#include "vibee/kernels/gemm/float_panel_gemm_launch.h"
#include "vibee/kernels/gemm/packed_panel_block.h"

namespace vibee {

/// Few rows: at most so many; blocks of 32 k a round.
constexpr uint32_t kFloatFewRows = 8, kFloatFewThreads = 256, kFloatRound = 4;
constexpr uint32_t kFloatRoundDepth = kFloatRound * kBlockDepth;

VIBEE_BLOCK uint64_t float_header_at(const FloatPanelForm& form, uint64_t panel, uint32_t block) {
  return panel * form.stride + uint64_t(block / form.superblock) * (form.header + form.superblock * form.codes);
}

/// Of an exponent in E8M0.
VIBEE_BLOCK float power_of_two(uint32_t e) { return bits_float(e == 0 ? 0x00400000u : e << 23); }

/// Values of rows r .. r + 3 of a panel at one k; r is a multiple of four.
template <class Block>
VIBEE_BLOCK Vector16<float> float_panel_values(Block& b, const FloatPanelForm& form, const void* panels, uint64_t panel,
                                               uint32_t r, uint32_t k) {
  const uint32_t block = k / kBlockDepth, j = k % kBlockDepth;
  const uint64_t header = float_header_at(form, panel, block);
  const uint64_t codes = header + form.header + block % form.superblock * form.codes;
  uint32_t word;
  if (form.kind == FloatCodes::bytes) {
    word = panel_word(b, panels, codes + j * kPanelRows + r);
  } else {
    word = panel_word(b, panels, codes + j % 16 * kPanelRows + r) >> (j < 16 ? 0 : 4) & 0x0f0f0f0fu;
    if (form.kind == FloatCodes::six)
      word |= (panel_word(b, panels, codes + (16 + j % 8) * kPanelRows + r) >> (j / 8 * 2) & 0x03030303u) << 4;
  }
  Vector16<float> scales, out;
  if (form.powers) {
    const uint32_t powers = panel_word(b, panels, header + r);
    VIBEE_UNROLL
    for (uint32_t i = 0; i < 4; ++i) scales.at[i] = power_of_two(powers >> (8 * i) & 0xff);
  } else {
    scales = b.load16(static_cast<const float*>(panels), header / 4 + r);
  }
  VIBEE_UNROLL
  for (uint32_t i = 0; i < 4; ++i) {
    const uint32_t code = word >> (8 * i) & 0xff, below = code & (form.sign - 1);
    float v = 0;
    if (form.named) {
      VIBEE_UNROLL
      for (uint32_t c = 0; c < 16; ++c) v = code == c ? form.values[c] : v;
    } else {
      const uint32_t half = (code & form.sign ? 0x8000u : 0) | below << form.shift;
      v = b.to_float(Half{uint16_t(half)}) * form.by;
    }
    out.at[i] = scales.at[i] * v;
  }
  return out;
}

/// A tile's values as FloatStage has those of rows: four columns a vector, threads along sixteen of these.
struct FloatPanelTile {
  FloatStage<false> tile;
  template <class Block>
  VIBEE_BLOCK void load(Block& b, const FloatPanelForm& form, const void* panels, uint32_t n, uint32_t column,
                        uint32_t k) {
    const uint32_t outer = column + FloatStage<false>::outer(b.thread());
    VIBEE_UNROLL
    for (uint32_t i = 0; i < FloatStage<false>::kVectors; ++i) {
      const uint32_t depth = k + FloatStage<false>::depth(b.thread(), i);
      tile.at[i] = {};
      if (outer < n && depth < form.blocks * kBlockDepth)
        tile.at[i] = float_panel_values(b, form, panels, outer / kPanelRows, outer % kPanelRows, depth);
    }
  }
};

template <class Block>
VIBEE_BLOCK void float_panel_gemm_block(Block& b, const FloatPanelGemmArgs& args) {
  const GemmArgs& product = args.product;
  const TilePlace tile = tile_place(b.block_x(), parts_of(product.m, kFgemmSide), parts_of(product.n, kFgemmSide));
  const uint32_t row = tile.row * kFgemmSide, column = tile.column * kFgemmSide;
  const auto left = operand_view<float>(product.a, product.ld_a, 0, 0, product.m, product.k);
  const auto room = shared_array<float>(b, 4 * kFgemmSide * kFgemmDepth);
  FloatStage<true> a;
  FloatPanelTile w;
  float_tile_sums(
      b, room, product.k, [&](uint32_t k) { a.load(b, left, row, k); },
      [&](uint32_t k) { w.load(b, args.panel, product.b, product.n, column, k); },
      [&](uint32_t begin) { a.store(b, room, begin); }, [&](uint32_t begin) { w.tile.store(b, room, begin); });
  finish_tile<kFgemmSide, kFgemmSide>(b, product, room, row, column);
}

/// At most kFloatFewRows rows by the sixteen columns of a panel a block of threads.
template <class Block>
VIBEE_BLOCK void float_panel_gemv_block(Block& b, const FloatPanelGemmArgs& args) {
  const GemmArgs& product = args.product;
  const FloatPanelForm& form = args.panel;
  const auto* x = static_cast<const float*>(product.a);
  const auto room = shared_array<float>(b, 2 * kFloatRoundDepth * kPanelRows);
  const auto sums = shared_array<float>(b, kFloatFewRows * kPanelRows);
  const uint32_t row = b.thread() / kPanelRows, c = b.thread() % kPanelRows;
  const bool sums_up = row < product.m;
  const uint32_t depth = form.blocks * kBlockDepth;
  float acc = 0;
  for (uint32_t begin = 0, turn = 0; begin < depth; begin += kFloatRoundDepth, turn ^= 1) {
    const uint32_t base = turn * kFloatRoundDepth * kPanelRows;
    const uint32_t count = depth - begin < kFloatRoundDepth ? depth - begin : kFloatRoundDepth;
    for (uint32_t i = b.thread(); i < count * (kPanelRows / kFour); i += b.threads()) {
      const uint32_t r = i % (kPanelRows / kFour) * kFour, k = i / (kPanelRows / kFour);
      b.store16(room, base + k * kPanelRows + r, float_panel_values(b, form, product.b, b.block_x(), r, begin + k));
    }
    b.sync();  // the round after next, which takes this one's place, begins behind the next barrier
    for (uint32_t k = 0; sums_up && k < count; ++k)
      acc = b.fma(b.load(x, uint64_t(row) * product.ld_a + begin + k), b.load(room, base + k * kPanelRows + c), acc);
  }
  if (sums_up) b.store(sums, sum_at<kPanelRows>(row, c), acc);
  b.sync();
  for (uint32_t i = b.thread(); i < product.m * (kPanelRows / kPiece); i += b.threads()) {
    const uint32_t r = i / (kPanelRows / kPiece), at = i % (kPanelRows / kPiece) * kPiece;
    const uint32_t column = b.block_x() * kPanelRows + at;
    if (column >= product.n) continue;
    Piece v;
    VIBEE_UNROLL
    for (uint32_t j = 0; j < kPiece; ++j) v.at[j] = b.load(sums, sum_at<kPanelRows>(r, at + j));
    finish_piece(b, product, r, column, v);
  }
}

/// A thread a value.
template <class Block>
VIBEE_BLOCK void float_panel_embed_block(Block& b, const FloatPanelEmbedArgs& args) {
  const FloatPanelForm& form = args.panel;
  const uint32_t id = uint32_t(b.load(args.ids, b.block_x())), r = id % kPanelRows, k = form.blocks * kBlockDepth;
  for (uint32_t i = b.thread(); i < k; i += b.threads()) {
    float v = 0;
    if (id < args.count) {
      const Vector16<float> four = float_panel_values(b, form, args.panels, id / kPanelRows, r / kFour * kFour, i);
      VIBEE_UNROLL
      for (uint32_t j = 0; j < kFour; ++j) v = j == r % kFour ? four.at[j] : v;
      if (args.by != 1.0f) v = v * args.by;
    }
    b.store(args.out, uint64_t(b.block_x()) * k + i, v);
  }
}

}  // namespace vibee
