// SPDX-License-Identifier: Apache-2.0
// Synchronous data parallelism: ranks hold the same weights, each computes shares of a step (deal_shares), gradients
// are summed in the tree of the shares, and all make the same update. What is here is what ranks agree on beside
// gradients. Goyal et al. 2017; Li et al., PyTorch DDP, VLDB 2020.
#pragma once

#include "vibee/base/hash/siphash.h"
#include "vibee/dist/collective/comm_thread.h"

namespace vibee {

/// N of a mesh "dp=N", the one axis that is built; 0 where it is something else.
uint32_t ranks_of_mesh(const std::string& mesh);

/// Whether a rank says so: the answer is the same on all.
Result<bool> any_rank(CommThread& ranks, bool mine);

/// Every number becomes the largest that a rank has of it; none is below 0.
Status max_over_ranks(CommThread& ranks, std::span<float> mine);

/// Ranks that began differently would go on differently, and nobody would see it. The error says `what` differs, on
/// all.
Status same_on_all_ranks(CommThread& ranks, const Hash128& mine, std::string_view what);

}  // namespace vibee
