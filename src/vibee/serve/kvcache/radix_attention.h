// SPDX-License-Identifier: Apache-2.0
// v1674 radix_attention: all stored sequences of a space as a compressed trie over tokens (Zheng et al., SGLang,
// NeurIPS 2024, arXiv:2312.07104). An edge is a run of tokens; a match may end anywhere, also inside a run and inside a
// page.
//
// Every page is held by one node: a page of positions 16 i .. 16 i + 15 by the deepest node on the path that reaches
// into it. So an inner node holds whole pages only, and the rows it ends with inside a page are found in the page of
// any descendant, whose first rows they are too; a branch has the page in which it departs copied (by SequenceState,
// when it is written). Pages are given back from the end of the leaf that was used longest ago.
//
// All nodes but roots stand in one list in the order of their last use, a node behind its children: a walk uses a node
// and then those above it. So the first is a leaf. The node behind an edge is found in a table of node numbers, whose
// key is in the node: a node costs 80 bytes, its tokens and pages, and some 11 bytes of the table.
#pragma once

#include <deque>
#include <unordered_map>

#include "vibee/serve/kvcache/kvcache.h"

namespace vibee {

class RadixIndex final : public PrefixIndex {
 public:
  explicit RadixIndex(PageStore* store) : PrefixIndex(store) {}
  ~RadixIndex() override { clear(); }
  bool evict() override;
  void clear() override;
  std::vector<Run> runs(size_t most) const override;

  size_t nodes() const { return nodes_.size() - free_.size(); }
  /// Bytes beside the pages.
  size_t bytes() const;

 protected:
  uint32_t find(uint64_t space, std::span<const int32_t> tokens, std::vector<uint32_t>* pages) override;
  void add(uint64_t space, std::span<const int32_t> tokens, const SequenceState& state) override;

 private:
  static constexpr uint32_t kNone = ~0u;
  struct Node {
    uint32_t parent = kNone;
    uint32_t first_child = kNone, next = kNone, previous = kNone;  // siblings
    uint32_t older = kNone, newer = kNone;                         // in the order of use
    uint32_t begin = 0;                                            // position of its first token
    uint32_t used = 0;                                             // when, for those who watch
    std::vector<int32_t> tokens;
    std::vector<uint32_t> pages;  // from begin / 16 on

    uint32_t end() const { return begin + uint32_t(tokens.size()); }
    uint32_t first_page() const { return begin / kPageTokens; }
    bool is_leaf() const { return first_child == kNone; }
  };
  /// Where a walk along tokens ended: all of `node` but its last `rest` tokens.
  struct Place {
    uint32_t node, length, rest;
  };

  Place walk(uint32_t root, std::span<const int32_t> tokens);
  uint32_t make_node();
  size_t edge_slot(uint32_t parent, int32_t token) const;
  uint32_t child(uint32_t parent, int32_t token) const { return edges_[edge_slot(parent, token)]; }
  void add_edge(uint32_t node);
  void remove_edge(uint32_t node);
  void enlist(uint32_t node, uint32_t older);
  void delist(uint32_t node);
  void link(uint32_t parent, uint32_t child);
  void unlink(uint32_t node);
  uint32_t split(uint32_t node, uint32_t keep);
  void remove(uint32_t node);
  bool shorten(uint32_t leaf);
  void touch(uint32_t node, uint64_t now);
  uint32_t page_of(uint32_t node, uint32_t index) const;

  std::deque<Node> nodes_;  // grows without room to spare
  std::vector<uint32_t> free_;
  std::unordered_map<uint64_t, uint32_t> roots_;
  std::vector<uint32_t> edges_ = {kNone, kNone};  // open addressing, linear probing, a power of two, at most half full
  size_t edge_count_ = 0;
  uint32_t oldest_ = kNone, newest_ = kNone;
  uint64_t clock_ = 0;
};

}  // namespace vibee
