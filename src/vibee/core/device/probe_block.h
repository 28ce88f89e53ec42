// SPDX-License-Identifier: Apache-2.0
// Small kernels that use every instruction of a Block once: results that a device has to give, known beforehand.
#pragma once

#include "vibee/core/device/block.h"
#include "vibee/core/device/probe_launch.h"

namespace vibee {

/// One warp, k in steps of one mma through two stages of shared memory, which cp.async fills.
template <class Block, class T, class Sum, bool kTransposed>
VIBEE_BLOCK void probe_product_block(Block& b, const ProbeProductArgs& args) {
  constexpr uint32_t kRow = Vector16<T>::kCount, kDepth = 2 * kRow;  // elements of a row of a matrix, of a step
  const auto *a = static_cast<const T*>(args.a), *right = static_cast<const T*>(args.b);
  const uint32_t lane = b.lane(), k = args.k;
  const auto sa = shared_array<T>(b, 2 * 16 * kDepth), sb = dynamic_array<T>(b, 2 * 8 * kDepth);
  const auto fetch = [&](uint32_t at, uint32_t stage) {
    if (at < k) {
      b.copy_async16(sa, stage * 16 * kDepth + lane * kRow, a, uint64_t(lane / 2) * k + at + lane % 2 * kRow);
      const uint64_t from = kTransposed ? uint64_t(lane / 2) * k + at + lane % 2 * kRow : (at + lane) * uint64_t(8);
      if (lane < 16) b.copy_async16(sb, stage * 8 * kDepth + lane * kRow, right, from);
    }
    b.commit_async();
  };
  fetch(0, 0);
  Sum sums[4] = {};
  for (uint32_t at = 0, stage = 0; at < k; at += kDepth, stage ^= 1) {
    fetch(at + kDepth, stage ^ 1);
    b.wait_async(Groups<1>{});
    b.sync_warp();
    uint32_t left[4], columns[2];
    // Matrices 0 and 1: rows 0 to 7 and 8 to 15 of the first half of k; 2 and 3: of the second.
    b.load_matrices(left, sa, stage * 16 * kDepth + lane % 16 * kDepth + lane / 16 * kRow);
    if constexpr (kTransposed)
      b.load_matrices(columns, sb, stage * 8 * kDepth + lane % 8 * kDepth + lane / 8 % 2 * kRow);
    else
      b.load_matrices_transposed(columns, sb, stage * 8 * kDepth + lane % 16 * kRow);
    b.mma(sums, left, columns, T{});
    b.sync_warp();
  }
  const uint32_t row = lane / 4, column = lane % 4 * 2;
  auto* c = static_cast<Sum*>(args.c);
  for (uint32_t i = 0; i < 4; ++i) b.store(c, (row + i / 2 * 8) * 8 + column + i % 2, sums[i]);
}

template <class Block>
VIBEE_BLOCK void probe_exchange_block(Block& b, const ProbeExchangeArgs& args) {
  const auto count = shared_array<uint32_t>(b, 2);
  if (b.thread() < 2) b.store(count, b.thread(), 0u);
  b.sync();
  const uint32_t lane = b.lane();
  const uint64_t at = (uint64_t(b.block_x()) * b.threads() + b.thread()) * 5;
  b.store(args.out, at, b.shuffle(lane * 3, 3));
  b.store(args.out, at + 1, b.shuffle_xor(lane, 5));
  b.store(args.out, at + 2, b.shuffle_down(lane, 4));
  b.store(args.out, at + 3, b.ballot(lane % 3 == 0));
  b.atomic_add(count, 0, b.thread());
  b.atomic_max(count, 1, b.thread());
  b.atomic_add(args.counters, 0, 1u);
  b.atomic_max(args.counters, 1, b.thread());
  b.atomic_compare_swap(args.counters, 2, 0u, 1u);
  b.atomic_add(args.sums, 0, 0.25f);
  b.fence();
  b.sync();
  b.store(args.out, at + 4, b.load(count, 0));
}

}  // namespace vibee
