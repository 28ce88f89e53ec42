// SPDX-License-Identifier: Apache-2.0
// v1691 flash_decoding (Dao, Haziza, Massa, Sizov 2023): with few query rows and long contexts, work items of whole
// (sequence, KV head) leave threads idle, so the keys of an item are cut and several threads read them. Our cuts lie at
// the splits of 256 absolute positions and parts are folded left to right as without cuts: the bytes do not change.
#pragma once

#include <cstdint>

namespace vibee {

/// Items a thread from which on whole items balance well enough: the last to finish is idle-bound by 1/8 of a share.
inline constexpr uint32_t kItemsAThread = 8;

/// What a step's decode items look like.
struct DecodeWork {
  uint32_t items = 0;        ///< (row, KV head) pairs
  uint64_t splits = 0;       ///< of all items together
  uint32_t most_splits = 0;  ///< of the longest
};

/// Splits of 256 keys a chunk when `threads` threads share the work; 0: leave items whole. Cutting pays when there are
/// fewer than kItemsAThread items a thread; a chunk is then 1/kItemsAThread of a thread's share.
uint32_t splits_a_chunk(const DecodeWork& work, uint32_t threads);

}  // namespace vibee
