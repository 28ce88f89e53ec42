// SPDX-License-Identifier: Apache-2.0
// v1674 radix_attention: all stored sequences of a space as a compressed trie over tokens (Zheng et al., SGLang,
// NeurIPS 2024, arXiv:2312.07104). An edge is a run of tokens; a match may end anywhere, also inside a run and inside a
// page.
//
// Every page is held by one node: a page of positions 16 i .. 16 i + 15 by the deepest node on the path that reaches
// into it. So an inner node holds whole pages only, and the rows it ends with inside a page are found in the page of
// any descendant, whose first rows they are too; a branch has the page in which it departs copied (by SequenceState,
// when it is written). Pages are given back from the end of the leaf that was used longest ago.
#pragma once

#include <set>
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
    uint32_t begin = 0;                                            // position of its first token
    uint64_t used = 0;                                             // when; a leaf stands in leaves_ under this
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
  struct Edge {
    uint32_t parent;
    int32_t token;
    bool operator==(const Edge&) const = default;
  };
  struct EdgeHash {
    size_t operator()(const Edge& e) const {
      uint64_t x = uint64_t(e.parent) << 32 | uint32_t(e.token);
      x = (x ^ x >> 31) * 0x9e3779b97f4a7c15ull;
      return size_t(x ^ x >> 29);
    }
  };

  Place walk(uint32_t root, std::span<const int32_t> tokens);
  uint32_t make_node();
  void link(uint32_t parent, uint32_t child);
  void unlink(uint32_t node);
  uint32_t split(uint32_t node, uint32_t keep);
  void remove(uint32_t node);
  bool shorten(uint32_t leaf);
  void touch(uint32_t node, uint64_t now);
  uint32_t page_of(uint32_t node, uint32_t index) const;

  std::vector<Node> nodes_;
  std::vector<uint32_t> free_;
  std::unordered_map<uint64_t, uint32_t> roots_;
  std::unordered_map<Edge, uint32_t, EdgeHash> children_;
  std::set<std::pair<uint64_t, uint32_t>> leaves_;  // by last use
  uint64_t clock_ = 0;
};

}  // namespace vibee
