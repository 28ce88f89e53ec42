// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/attention/flash_decoding.h"

#include <algorithm>

namespace vibee {

uint32_t splits_a_chunk(const DecodeWork& work, uint32_t threads) {
  if (threads < 2 || work.most_splits < 2 || work.items >= threads * kItemsAThread) return 0;
  return uint32_t(std::max<uint64_t>(1, work.splits / (uint64_t(threads) * kItemsAThread)));
}

}  // namespace vibee
