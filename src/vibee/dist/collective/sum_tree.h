// SPDX-License-Identifier: Apache-2.0
// The order in which the gradients of a step's shares are added: a fixed binary tree over the shares, whoever computes
// them. A node over [first, end) adds its left part, of the largest power of two below its size, and the rest; so the
// bytes of a sum depend on the number of shares alone, never on the number of ranks.
#pragma once

#include <bit>
#include <cstdint>
#include <vector>

namespace vibee {

/// Shares [first, end): a node of the tree, or what a rank computes.
struct ShareRange {
  uint32_t first, end;
  friend bool operator==(const ShareRange&, const ShareRange&) = default;
};

/// Where a node of at least two shares is split.
inline uint32_t split(ShareRange node) { return node.first + std::bit_ceil(node.end - node.first) / 2; }

/// The nodes of the tree over `shares` that lie in `range` with no parent there, from left to right.
std::vector<ShareRange> whole_nodes(uint32_t shares, ShareRange range);

/// How a rank adds up its shares one behind the other: share k goes into a buffer, then buffers are added as told
/// (left += right). At the end buffer i holds whole_nodes()[i].
struct ShareSums {
  struct Share {
    uint32_t buffer;
    std::vector<std::pair<uint32_t, uint32_t>> adds;  ///< (left, right)
  };
  std::vector<Share> shares;
  uint32_t buffers = 0;
};
ShareSums share_sums(uint32_t shares, ShareRange range);

}  // namespace vibee
