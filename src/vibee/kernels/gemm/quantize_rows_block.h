// SPDX-License-Identifier: Apache-2.0
// Rows quantised for products by integer codes, with the bytes of quantize_row.h: a block a row, four elements a
// thread, the threads of a group of elements by shuffles. Sums of codes are whole numbers, exact in any order; as
// floats they keep the sign that a zero has.
#pragma once

#include <cmath>

#include "vibee/core/device/block_reduce.h"
#include "vibee/kernels/gemm/packed_panel_block.h"

namespace vibee {

/// To the nearest whole number, ties to even, of magnitudes below 2^22; zeros keep the sign of v.
VIBEE_BLOCK float round_to_even(float v) {
  const float whole = 0x1.8p23f;
  return bits_float(float_bits((v + whole) - whole) | (float_bits(v) & 0x80000000u));
}

template <class Block>
VIBEE_BLOCK void quantize_rows_block(Block& b, const QuantizeRowsArgs& args) {
  constexpr uint32_t kEach = 4, kLanes = kBlockDepth / kEach;  // threads of a block of 32
  const uint64_t row = uint64_t(b.block_x()) * args.k;
  const bool vectors = rows_of_vectors(args.x, args.k), whole = args.group == args.k;
  const auto room = shared_array<float>(b, kReduceRoom);
  const TakeLarger larger;
  auto* const records = static_cast<uint32_t*>(args.records);
  const auto read = [&](uint32_t i) {
    Vector16<float> v = {};
    if (i >= args.k) return v;
    if (vectors) return b.load16(args.x, row + i);
    VIBEE_UNROLL
    for (uint32_t j = 0; j < kEach; ++j) v.at[j] = b.load(args.x, row + i + j);
    return v;
  };
  const auto magnitude = [&](const Vector16<float>& v) {
    float most = 0;
    VIBEE_UNROLL
    for (uint32_t j = 0; j < kEach; ++j) {
      const float x = v.at[j], none = x - x;  // not zero: x is infinite or no number
      most = larger(most, none == 0.0f ? bits_float(float_bits(x) & 0x7fffffffu) : none);
    }
    return most;
  };
  const uint32_t step = b.threads() * kEach;
  float row_most = 0;
  if (whole) {
    for (uint32_t i = b.thread() * kEach; i < args.k; i += step) row_most = larger(row_most, magnitude(read(i)));
    row_most = block_reduce(b, room, row_most, 0.0f, larger);
  }
  for (uint32_t from = 0; from < args.k; from += step) {  // all lanes of a warp, for the shuffles
    const uint32_t i = from + b.thread() * kEach;
    const Vector16<float> v = read(i);
    float most = row_most;
    if (!whole) {
      most = magnitude(v);
      for (uint32_t bits = 1; bits < args.group / kEach; bits *= 2) most = larger(most, b.shuffle_xor(most, bits));
    }
    const bool four = args.four_bits && i < args.kept_from, none = most != most;
    const float high = four ? 7.0f : 127.0f;
    if (four) most = 0.9f * most;
    const float by = most < 1e-36f ? 0.0f : high / most;
    uint32_t codes = 0;
    float sum = 0;
    VIBEE_UNROLL
    for (uint32_t j = 0; j < kEach; ++j) {
      float q = none ? 0.0f : round_to_even(v.at[j] * by);
      if (four) q = q > high ? high : q < -high - 1 ? -high - 1 : q;
      codes |= (uint32_t(int32_t(q)) & 0xff) << (8 * j);
      sum = j == 0 ? q : sum + q;
    }
    for (uint32_t bits = 1; bits < kLanes / 2; bits *= 2) sum = sum + b.shuffle_xor(sum, bits);
    const float other = b.shuffle_xor(sum, kLanes / 2), both = sum + other;  // of sixteen, and of 32
    int32_t ns = -int32_t(both);
    if (args.four_bits && args.group > kBlockDepth) {  // a group's in its first block
      for (uint32_t bits = kLanes; bits < args.group / kEach; bits *= 2) ns += b.shuffle_xor(ns, bits);
      if (i % args.group >= kBlockDepth) ns = 0;
    }
    if (i >= args.k) continue;
    const uint64_t record = (row + i) / kBlockDepth * 12;
    b.store(records, record + i % kBlockDepth / kEach, codes);
    if (i % kBlockDepth != 0) continue;
    const float da = none ? most : most / high;
    Vector16<uint32_t> facts = {{float_bits(da), float_bits(da * both), uint32_t(ns), uint32_t(-int32_t(sum))}};
    if (none) facts = {{0x7fc00000u, 0x7fc00000u, 0, 0}};
    b.store16(records, record + 8, facts);
  }
}

}  // namespace vibee
