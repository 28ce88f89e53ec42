// SPDX-License-Identifier: Apache-2.0
// The codes of compress.h as block programs, by the operations of compress_kernels.h in the same order: the CPU's
// bytes, but for payloads of NaN.
#pragma once

#include "vibee/core/device/block_philox.h"
#include "vibee/core/device/block_reduce.h"
#include "vibee/kernels/pointwise/compress_launch.h"

namespace vibee {

/// The warp's group of a row: its numbers, and where its bytes begin.
struct CompressedGroup {
  uint64_t row, first, bytes;  ///< `first`: its first number in the array
  uint32_t index, n, m;        ///< of the row's groups; numbers; bytes of codes
  bool there;

  template <class Block>
  VIBEE_BLOCK CompressedGroup(Block& b, uint32_t rows, uint32_t n_row, uint32_t bits) {
    const uint32_t groups = compress_groups(n_row);
    const uint64_t group = uint64_t(b.block_x()) * kCompressWarps + b.warp();
    row = group / groups;
    index = uint32_t(group % groups);
    there = row < rows;
    const uint32_t before = index * kCompressGroup;
    n = n_row - before < kCompressGroup ? n_row - before : kCompressGroup;
    m = (n * bits + 7) / 8;
    first = row * n_row + before;
    bytes = row * compressed_bytes(n_row, bits) + compressed_bytes(before, bits);
  }
};

VIBEE_BLOCK uint32_t bf16_outwards(float x, bool down) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, x);
  const bool negative = bits >> 31 != 0;
  return (bits >> 16) + ((bits & 0xffff) != 0 && negative == down ? 1u : 0u);
}
VIBEE_BLOCK float bf16_bits(uint32_t half) { return __builtin_bit_cast(float, half << 16); }

/// A lane has every sixteenth of 128 numbers: their random bits are of one counter.
template <class Block, class T>
VIBEE_BLOCK void compress_block(Block& b, const CompressArgs& args) {
  constexpr uint32_t kEach = kCompressGroup / kWarp;
  constexpr float kWhole = 0x1.8p23f;  // rounds what is added to it to nearest even
  const auto room = shared_array<uint8_t>(b, kCompressWarps * kCompressGroup);
  const CompressedGroup group(b, args.rows, args.n, args.bits);
  if (!group.there) return;
  const auto* x = static_cast<const T*>(args.x);
  const uint32_t half = b.lane() / 16, of = b.lane() % 16, at = half * 128 + of, codes = b.warp() * kCompressGroup;
  const auto take = [](float one, float two) { return one > two ? one : two; };
  float v[kEach], under = -__builtin_huge_valf(), most = under;
  bool finite = true;
  VIBEE_UNROLL
  for (uint32_t j = 0; j < kEach; ++j) {
    const uint32_t i = at + 16 * j;
    v[j] = i < group.n ? b.to_float(b.load(x, group.first + i)) : 0.0f;
    if (i >= group.n) continue;
    finite = finite && v[j] - v[j] == 0.0f;
    under = take(0.0f - v[j], under), most = take(v[j], most);
  }
  under = warp_reduce(b, under, take), most = warp_reduce(b, most, take);
  finite = b.ballot(finite) == kAllLanes;
  // Zeros of either sign are one number.
  uint32_t low = bf16_outwards(-under + 0.0f, true), high = bf16_outwards(most + 0.0f, false);
  float range = bf16_bits(high) - bf16_bits(low);
  if (!finite || range - range != 0.0f) low = high = 0x7fc0, range = 0;
  if (b.lane() < 4) b.store(args.out, group.bytes + b.lane(), uint8_t((low | high << 16) >> (8 * b.lane())));

  const float levels = float((1u << args.bits) - 1), lift = range < 0x1p-100f ? 0x1p100f : 1.0f;
  const float by = levels / (range * lift), begin = bf16_bits(low);
  const uint64_t unit =
      args.key.element / 128 + (group.row * compress_groups(args.n) + group.index) * (kCompressGroup / 128) + half;
  const RoundingWords random(args.key, unit, of);
  VIBEE_UNROLL
  for (uint32_t j = 0; j < kEach; ++j) {
    const float noise = (float(int32_t(random.bits(j) >> 1)) - 16383.5f) * 0x1p-15f;
    const float u = ((v[j] - begin) * lift * by + noise + kWhole) - kWhole;
    const float kept = u > levels ? levels : u > 0.0f ? u : 0.0f;
    b.store(room, codes + at + 16 * j, uint8_t(range > 0.0f && at + 16 * j < group.n ? uint32_t(kept) : 0u));
  }
  b.sync_warp();
  for (uint32_t i = b.lane(); i < group.m; i += kWarp) {
    uint32_t byte = 0;
    for (uint32_t p = 0; p * args.bits < 8; ++p)
      byte |= uint32_t(b.load(room, codes + p * group.m + i)) << (p * args.bits);
    b.store(args.out, group.bytes + 4 + i, uint8_t(byte));
  }
}

template <class Block, class T>
VIBEE_BLOCK void decompress_block(Block& b, const DecompressArgs& args) {
  const CompressedGroup group(b, args.rows, args.n, args.bits);
  if (!group.there) return;
  const auto byte = [&](uint32_t i) { return uint32_t(b.load(args.x, group.bytes + i)); };
  const float low = bf16_bits(byte(0) | byte(1) << 8), range = bf16_bits(byte(2) | byte(3) << 8) - low;
  const uint32_t mask = (1u << args.bits) - 1;
  const float step = range / float(mask);
  for (uint32_t i = b.lane(); i < group.n; i += kWarp) {
    const uint32_t code = byte(4 + i % group.m) >> (i / group.m * args.bits) & mask;
    b.store(static_cast<T*>(args.out), group.first + i, b.from_float(b.fma(float(code), step, low), T{}));
  }
}

}  // namespace vibee
