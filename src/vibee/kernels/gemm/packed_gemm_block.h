// SPDX-License-Identifier: Apache-2.0
// Products by weights in panels, with the bytes of the CPU's (packed_gemm.cc): a block of 32 k of two panels is the
// left operand of two mma, whose sums of codes are whole numbers and exact in any order; what makes floats of them goes
// over ascending blocks, a chain of fma a sum. Lanes take rows 4 * (lane / 4) .. of the 32 that two panels have, so
// that a load of 16 bytes brings each lane what it multiplies, and get the sums of those four with two rows of the
// other operand, 2 * (lane % 4) and the next.
#pragma once

#include "vibee/core/device/block_reduce.h"
#include "vibee/kernels/gemm/gemm_finish.h"
#include "vibee/kernels/gemm/gemm_stage.h"
#include "vibee/kernels/gemm/packed_panel_block.h"
#include "vibee/kernels/gemm/quantize_rows_block.h"

namespace vibee {

constexpr uint32_t kPair = 2 * kPanelRows;  ///< columns of two panels
/// Few rows: at most so many; blocks of 32 k a round of all warps; what a block leaves in shared memory, at most.
constexpr uint32_t kFewRows = 8, kFewWarps = 8, kFewEach = 2, kFewRound = kFewWarps * kFewEach;
VIBEE_BLOCK_AND_HOST constexpr uint32_t few_planes(const PanelForm& form) {
  return form.has_min ? 3 : form.split ? 2 : 1;
}
VIBEE_BLOCK_AND_HOST constexpr uint32_t few_floats(const PanelForm& form, uint32_t rows) {
  return 2 * kFewRound * few_planes(form) * rows * kPair;
}
constexpr uint32_t kManyRows = 32, kManyColumns = 64, kManyThreads = 128, kManyTiles = 2;

/// The lane's place among panels: which panel, which four of its rows. Panels behind
/// the last are the last one again; the matrix begins at panel `first`.
struct PanelLane {
  uint64_t panel;
  uint32_t quad, t;
};
VIBEE_BLOCK PanelLane panel_lane(uint32_t lane, uint32_t column, uint32_t n, uint64_t first = 0) {
  const uint32_t panel = column / kPanelRows + lane / 16, last = (n - 1) / kPanelRows;
  return {first + (panel < last ? panel : last), lane / 4 % 4, lane % 4};
}

/// The rows of a tile that come `first` and behind it, as the lane needs them in an mma: lane / 4, and 2t and 2t + 1.
struct LaneRows {
  uint32_t codes, constants[2];  ///< rows of the operand
};
/// `row_of` says which row of the operand row r of a tile is, also of those behind the tile's last.
template <class RowOf>
VIBEE_BLOCK LaneRows lane_rows(uint32_t lane, uint32_t first, const RowOf& row_of) {
  return {row_of(first + lane / 4), {row_of(first + lane % 4 * 2), row_of(first + lane % 4 * 2 + 1)}};
}

/// What the records of a block of 32 k bring to the lane: its part of the mma, of row lane / 4, and the constants of
/// rows 2t and 2t + 1.
struct RowWords {
  uint32_t q[2];
  float da[2];
  int32_t ns[2], ns0[2];
};
template <class Block>
VIBEE_BLOCK RowWords row_words(Block& b, const uint32_t* records, uint64_t blocks, uint32_t block, const LaneRows& rows,
                               uint32_t lane) {
  const auto record = [&](uint32_t row) { return (row * blocks + block) * 12; };
  RowWords w;
  const uint64_t at = record(rows.codes);
  w.q[0] = b.load(records, at + lane % 4);
  w.q[1] = b.load(records, at + 4 + lane % 4);
  VIBEE_UNROLL
  for (uint32_t s = 0; s < 2; ++s) {
    const Vector16<uint32_t> v = b.load16(records, record(rows.constants[s]) + 8);
    w.da[s] = bits_float(v.at[0]), w.ns[s] = int32_t(v.at[2]), w.ns0[s] = int32_t(v.at[3]);
  }
  return w;
}

/// Sums of a block for (row s, four columns j): those of its halves by their integer scales where `split` not; else of
/// each half.
struct BlockSums {
  int32_t first[2][kFour], last[2][kFour];
};
template <PanelCodes kKind, class Block>
VIBEE_BLOCK BlockSums block_sums(Block& b, const PanelForm& form, const CodeWords& codes, const BlockScales& scales,
                                 const RowWords& rows) {
  BlockSums sums;
  VIBEE_UNROLL
  for (uint32_t m = 0; m < 2; ++m) {
    int32_t one[4] = {}, two[4] = {};
    const uint32_t low[2] = {codes.low[2 * m], codes.low[2 * m + 1]},
                   high[2] = {codes.high[2 * m], codes.high[2 * m + 1]};
    if (may_have_halves(kKind) && form.halves) {
      const uint32_t a0[4] = {low[0], low[1], 0, 0}, a1[4] = {0, 0, high[0], high[1]};
      b.mma(one, a0, rows.q, int8_t{});
      b.mma(two, a1, rows.q, int8_t{});
    } else {
      const uint32_t a[4] = {low[0], low[1], high[0], high[1]};
      b.mma(one, a, rows.q, int8_t{});
    }
    VIBEE_UNROLL
    for (uint32_t e = 0; e < 4; ++e) {
      const uint32_t j = 2 * m + e / 2, s = e % 2;
      sums.first[s][j] =
          form.split ? one[e] : scales.sc[0][j] * (one[e] + scales.zero[j] * rows.ns[s]) + scales.sc[1][j] * two[e];
      sums.last[s][j] = two[e];
    }
  }
  return sums;
}
/// da times the sum of the row's codes, each half by what its minimum is multiplied by.
VIBEE_BLOCK float offset_factor(const BlockScales& scales, const RowWords& rows, uint32_t s, uint32_t j) {
  return rows.da[s] * float(-(scales.mn[0][j] * rows.ns0[s] + scales.mn[1][j] * (rows.ns[s] - rows.ns0[s])));
}
template <class Block>
VIBEE_BLOCK float row_factor(Block& b, const PanelForm& form, const void* panels, uint64_t panel, uint32_t r) {
  return form.row_scale ? b.load(static_cast<const float*>(panels), (panel * form.stride + form.tail) / 4 + r) : 1.0f;
}

/// At most kFewRows rows by 32 columns a block of threads: each panel is read once. Warps take units of depth in turn,
/// rounds of them, and leave in shared memory what a unit brings to the chains, whose threads then go on with them
/// while the others read the next round. Row r is `row_of(r)` of the operand and `out_of(r)` of D; the matrix begins at
/// panel `first_panel`.
template <PanelCodes kKind, class Block, class RowOf, class OutOf>
VIBEE_BLOCK void packed_few_rows(Block& b, const PanelForm& form, const GemmArgs& args, uint32_t column,
                                 uint64_t first_panel, uint32_t rows, const RowOf& row_of, const OutOf& out_of) {
  const uint32_t lane = b.lane(), t = lane % 4;
  const auto* records = static_cast<const uint32_t*>(args.a);
  const void* const panels = args.b;
  const PanelLane place = panel_lane(lane, column, args.n, first_panel);
  const LaneRows mine = lane_rows(lane, 0, row_of);
  const uint32_t planes = few_planes(form), plane = rows * kPair, unit_floats = planes * plane;
  const uint32_t chain = form.row_sum ? 1 : form.chain, units = form.blocks / chain;
  const auto room = dynamic_array<float>(b, few_floats(form, rows));
  const auto sums = shared_array<float>(b, kFewRows * kPair);
  // Of the chains.
  const uint32_t row = b.thread() / kPair, c = b.thread() % kPair;
  const bool sums_up = row < rows;
  const PanelLane own = panel_lane(c / kPanelRows * 16, column, args.n, first_panel);
  const uint64_t own_records = uint64_t(sums_up ? row_of(row) : 0) * form.blocks;
  float acc = 0;
  int32_t total = 0;
  for (uint32_t begin = 0, turn = 0; begin < units; begin += kFewRound, turn ^= 1) {
    const uint32_t base = turn * kFewRound * unit_floats;
    for (uint32_t i = b.warp(); i < kFewRound && begin + i < units; i += kFewWarps) {
      BlockScales scales;
      BlockSums unit = {};
      RowWords words;
      for (uint32_t block = (begin + i) * chain, left = chain; left > 0; --left, ++block) {
        const CodeWords codes = panel_codes<kKind>(b, form, panels, place.panel, block, place.quad, t);
        scales = panel_scales<kKind>(b, form, panels, place.panel, block, place.quad);
        words = row_words(b, records, form.blocks, block, mine, lane);
        const BlockSums more = block_sums<kKind>(b, form, codes, scales, words);
        VIBEE_UNROLL
        for (uint32_t s = 0; s < 2; ++s) {
          VIBEE_UNROLL
          for (uint32_t j = 0; j < kFour; ++j)
            unit.first[s][j] += more.first[s][j], unit.last[s][j] = may_have_halves(kKind) ? more.last[s][j] : 0;
        }
      }
      VIBEE_UNROLL
      for (uint32_t s = 0; s < 2; ++s) {
        if (2 * t + s >= rows) continue;
        const uint32_t at = base + i * unit_floats + (2 * t + s) * kPair + lane / 4 * kFour;
        Vector16<float> v;  // one after another: three at once would not fit the registers that some targets give
        VIBEE_UNROLL
        for (uint32_t j = 0; j < kFour; ++j)
          v.at[j] = form.row_sum ? bits_float(uint32_t(unit.first[s][j])) : float(unit.first[s][j]) * scales.dw[0][j];
        b.store16(room, at, v);
        if (planes > 1) {
          VIBEE_UNROLL
          for (uint32_t j = 0; j < kFour; ++j)
            v.at[j] = form.has_min || !may_have_halves(kKind) ? scales.mw[j] : float(unit.last[s][j]) * scales.dw[1][j];
          b.store16(room, at + plane, v);
        }
        if (planes > 2) {
          VIBEE_UNROLL
          for (uint32_t j = 0; j < kFour; ++j) v.at[j] = offset_factor(scales, words, s, j);
          b.store16(room, at + 2 * plane, v);
        }
      }
    }
    b.sync();  // the round after next, which takes this one's place, begins behind the next barrier
    const uint32_t count = units - begin < kFewRound ? units - begin : kFewRound;
    for (uint32_t i = 0; sums_up && i < count; ++i) {
      const uint32_t at = base + i * unit_floats + row * kPair + c;
      const float one = b.load(room, at);
      if (form.row_sum) {
        total += int32_t(float_bits(one));
        continue;
      }
      const uint64_t record = own_records + (begin + i + 1) * chain - 1;
      const float da = bits_float(b.load(records, record * 12 + 8));
      acc = b.fma(one, da, acc);
      if (form.split) acc = b.fma(b.load(room, at + plane), da, acc);
      if (form.has_min) acc = b.fma(b.load(room, at + plane), b.load(room, at + 2 * plane), acc);
    }
  }
  if (sums_up) {
    const uint32_t r = c % kPanelRows;
    if (form.row_sum && units > 0) {
      const uint64_t header = panel_header_at(form, own.panel, form.blocks - 1);
      const float da = bits_float(b.load(records, own_records * 12 + 8));
      acc = float(total) * panel_half(b, panels, header + 2 * r) * da;
    }
    b.store(sums, sum_at<kPair>(row, c), acc * row_factor(b, form, panels, own.panel, r));
  }
  b.sync();
  for (uint32_t i = b.thread(); i < rows * (kPair / kPiece); i += b.threads()) {
    const uint32_t r = i / (kPair / kPiece), at = i % (kPair / kPiece) * kPiece;
    if (column + at >= args.n) continue;
    Piece v;
    VIBEE_UNROLL
    for (uint32_t j = 0; j < kPiece; ++j) v.at[j] = b.load(sums, sum_at<kPair>(r, at + j));
    finish_piece(b, args, out_of(r), column + at, v);
  }
}

template <class Block, PanelCodes kKind>
VIBEE_BLOCK void packed_gemv_block(Block& b, const PackedGemmArgs& args) {
  const uint32_t rows = args.product.m;
  packed_few_rows<kKind>(
      b, args.panel, args.product, b.block_x() * kPair, 0, rows, [rows](uint32_t r) { return r < rows ? r : rows - 1; },
      [](uint32_t r) { return r; });
}

/// Tiles of 32 x 64: a warp has 16 rows by two panels, whose codes it unpacks once for both eights of rows, and
/// goes along all of the depth with sums in registers. As packed_few_rows; rows of D from m on are not written.
template <PanelCodes kKind, class Block, class RowOf, class OutOf>
VIBEE_BLOCK void packed_many_rows(Block& b, const PanelForm& form, const GemmArgs& args, uint32_t column,
                                  uint64_t first_panel, const RowOf& row_of, const OutOf& out_of) {
  const uint32_t lane = b.lane();
  const auto* records = static_cast<const uint32_t*>(args.a);
  const void* const panels = args.b;
  const uint32_t warp_row = b.warp() % 2 * 16, warp_column = b.warp() / 2 * kPair;
  const PanelLane place = panel_lane(lane, column + warp_column, args.n, first_panel);
  const LaneRows mine[kManyTiles] = {lane_rows(lane, warp_row, row_of), lane_rows(lane, warp_row + 8, row_of)};
  const auto sums = shared_array<float>(b, kManyRows * kManyColumns);
  float acc[kManyTiles][2][kFour] = {};
  int32_t total[kManyTiles][2][kFour] = {};
  for (uint32_t block = 0, left = form.chain; block < form.blocks; ++block) {
    const CodeWords codes = panel_codes<kKind>(b, form, panels, place.panel, block, place.quad, place.t);
    const BlockScales scales = panel_scales<kKind>(b, form, panels, place.panel, block, place.quad);
    const bool meets = --left == 0;
    if (meets) left = form.chain;
    VIBEE_UNROLL
    for (uint32_t i = 0; i < kManyTiles; ++i) {
      const RowWords words = row_words(b, records, form.blocks, block, mine[i], lane);
      const BlockSums unit = block_sums<kKind>(b, form, codes, scales, words);
      VIBEE_UNROLL
      for (uint32_t s = 0; s < 2; ++s) {
        VIBEE_UNROLL
        for (uint32_t j = 0; j < kFour; ++j) {
          float& to = acc[i][s][j];
          int32_t& sum = total[i][s][j];
          sum += unit.first[s][j];
          if (!meets) continue;
          const float scaled = float(sum) * scales.dw[0][j];
          sum = 0;
          to = form.row_sum ? scaled * words.da[s] : b.fma(scaled, words.da[s], to);
          if (may_have_halves(kKind) && form.split)
            to = b.fma(float(unit.last[s][j]) * scales.dw[1][j], words.da[s], to);
          if (form.has_min) to = b.fma(scales.mw[j], offset_factor(scales, words, s, j), to);
        }
      }
    }
  }
  VIBEE_UNROLL
  for (uint32_t j = 0; j < kFour; ++j) {
    const float factor = row_factor(b, form, panels, place.panel, place.quad * kFour + j);
    VIBEE_UNROLL
    for (uint32_t i = 0; i < kManyTiles; ++i) {
      VIBEE_UNROLL
      for (uint32_t s = 0; s < 2; ++s)
        b.store(sums, sum_at<kManyColumns>(warp_row + i * 8 + lane % 4 * 2 + s, warp_column + lane / 4 * kFour + j),
                acc[i][s][j] * factor);
    }
  }
  b.sync();
  finish_rows<kManyRows, kManyColumns>(b, args, sums, column, out_of);
}
template <class Block, PanelCodes kKind>
VIBEE_BLOCK void packed_gemm_block(Block& b, const PackedGemmArgs& args) {
  const uint32_t rows = args.product.m;
  const TilePlace tile = tile_place(b.block_x(), parts_of(rows, kManyRows), parts_of(args.product.n, kManyColumns));
  const uint32_t first = tile.row * kManyRows;
  packed_many_rows<kKind>(
      b, args.panel, args.product, tile.column * kManyColumns, 0,
      [=](uint32_t r) { return first + r < rows ? first + r : rows - 1; }, [=](uint32_t r) { return first + r; });
}

/// A row of a table in panels as floats: four threads a block of 32, of which each decodes eight k.
template <class Block, PanelCodes kKind>
VIBEE_BLOCK void packed_embed_block(Block& b, const PackedEmbedArgs& args) {
  const PanelForm& form = args.panel;
  const uint32_t id = uint32_t(b.load(args.ids, b.block_x())), r = id % kPanelRows;
  const bool has = id < args.count, aligned = begins_a_vector(args.out);
  for (uint32_t i = b.thread(); i < form.blocks * 4; i += b.threads()) {
    const uint32_t block = i / 4, t = i % 4;
    const uint64_t at = (uint64_t(b.block_x()) * form.blocks + block) * kBlockDepth + t * 4;
    float values[2][4] = {};
    if (has) {
      const uint64_t panel = id / kPanelRows;
      const CodeWords codes = panel_codes<kKind>(b, form, args.panels, panel, block, r / kFour, t);
      const BlockScales scales = panel_scales<kKind>(b, form, args.panels, panel, block, r / kFour);
      const float factor = row_factor(b, form, args.panels, panel, r);
      VIBEE_UNROLL
      for (uint32_t j = 0; j < kFour; ++j) {
        if (j != r % kFour) continue;
        VIBEE_UNROLL
        for (uint32_t h = 0; h < 2; ++h) {
          VIBEE_UNROLL
          for (uint32_t e = 0; e < 4; ++e) {
            const int32_t code = signed_byte(h == 0 ? codes.low[j] : codes.high[j], e) - scales.zero[j];
            float v = scales.dw[h][j] * float(scales.sc[h][j]) * float(code);
            if (form.has_min) v = v + scales.mw[j] * float(scales.mn[h][j]);
            v = factor * v;
            values[h][e] = args.by == 1.0f ? v : v * args.by;
          }
        }
      }
    }
    VIBEE_UNROLL
    for (uint32_t h = 0; h < 2; ++h) {
      if (aligned) {
        b.store16(args.out, at + 16 * h, Vector16<float>{{values[h][0], values[h][1], values[h][2], values[h][3]}});
        continue;
      }
      VIBEE_UNROLL
      for (uint32_t e = 0; e < 4; ++e) b.store(args.out, at + 16 * h + e, values[h][e]);
    }
  }
}

}  // namespace vibee
