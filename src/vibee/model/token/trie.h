// SPDX-License-Identifier: Apache-2.0
// A byte trie from texts to ids, as one open-addressed table of edges.
#pragma once

#include <bit>
#include <cstdint>
#include <string_view>
#include <vector>

#include "vibee/model/token/text_index.h"

namespace vibee {

class Trie {
 public:
  static constexpr uint32_t kRoot = 0, kNone = ~0u;

  void insert(std::string_view text, int32_t id) {
    uint32_t node = kRoot;
    for (const char c : text) {
      uint32_t next = child(node, uint8_t(c));
      if (next == kNone) {
        next = uint32_t(ids_.size());
        ids_.push_back(-1);
        if (ids_.size() * 2 > edges_.size()) grow();
        put(uint64_t(node) << 8 | uint8_t(c), next);
      }
      node = next;
    }
    ids_[node] = id;
  }
  uint32_t child(uint32_t node, uint8_t byte) const {
    const uint64_t key = uint64_t(node) << 8 | byte;
    for (size_t i = hash_word(key) & (edges_.size() - 1);; i = (i + 1) & (edges_.size() - 1)) {
      if (edges_[i].node == kNone) return kNone;
      if (edges_[i].key == key) return edges_[i].node;
    }
  }
  /// The id of the text that ends at `node`, or -1.
  int32_t id(uint32_t node) const { return ids_[node]; }

 private:
  struct Edge {
    uint64_t key = 0;
    uint32_t node = kNone;
  };
  void put(uint64_t key, uint32_t node) {
    size_t i = hash_word(key) & (edges_.size() - 1);
    while (edges_[i].node != kNone) i = (i + 1) & (edges_.size() - 1);
    edges_[i] = {key, node};
  }
  void grow() {
    std::vector<Edge> old(edges_.size() * 2);
    std::swap(old, edges_);
    for (const Edge& edge : old) {
      if (edge.node != kNone) put(edge.key, edge.node);
    }
  }
  std::vector<int32_t> ids_ = {-1};
  std::vector<Edge> edges_ = std::vector<Edge>(16);
};

}  // namespace vibee
