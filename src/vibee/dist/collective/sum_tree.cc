// SPDX-License-Identifier: Apache-2.0
#include "vibee/dist/collective/sum_tree.h"

#include <algorithm>

namespace vibee {
namespace {

void collect(ShareRange node, ShareRange range, std::vector<ShareRange>* to) {
  if (node.end <= range.first || node.first >= range.end) return;
  if (range.first <= node.first && node.end <= range.end) {
    to->push_back(node);
    return;
  }
  collect({node.first, split(node)}, range, to);
  collect({split(node), node.end}, range, to);
}

/// The node's sum ends in `buffer`; the buffers behind it are free.
void add_up(ShareRange node, uint32_t buffer, ShareSums* to) {
  to->buffers = std::max(to->buffers, buffer + 1);
  if (node.end - node.first == 1) {
    to->shares.push_back({buffer, {}});
    return;
  }
  add_up({node.first, split(node)}, buffer, to);
  add_up({split(node), node.end}, buffer + 1, to);
  to->shares.back().adds.emplace_back(buffer, buffer + 1);
}

}  // namespace

std::vector<ShareRange> whole_nodes(uint32_t shares, ShareRange range) {
  std::vector<ShareRange> nodes;
  collect({0, shares}, range, &nodes);
  return nodes;
}

ShareSums share_sums(uint32_t shares, ShareRange range) {
  ShareSums sums;
  uint32_t buffer = 0;
  for (const ShareRange node : whole_nodes(shares, range)) add_up(node, buffer++, &sums);
  return sums;
}

}  // namespace vibee
