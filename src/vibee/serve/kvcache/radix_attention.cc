// SPDX-License-Identifier: Apache-2.0
#include "vibee/serve/kvcache/radix_attention.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "vibee/base/memory/forget.h"

namespace vibee {

/// Where the node behind that edge stands in the table, or would.
size_t RadixIndex::edge_slot(uint32_t parent, int32_t token) const {
  uint64_t x = uint64_t(parent) << 32 | uint32_t(token);
  x = (x ^ x >> 31) * 0x9e3779b97f4a7c15ull;
  const size_t mask = edges_.size() - 1;
  for (size_t at = size_t(x ^ x >> 29) & mask;; at = (at + 1) & mask) {
    const uint32_t node = edges_[at];
    if (node == kNone || (nodes_[node].parent == parent && nodes_[node].tokens[0] == token)) return at;
  }
}

/// The node is linked: its parent and first token are the edge.
void RadixIndex::add_edge(uint32_t node) {
  if (2 * (edge_count_ + 1) > edges_.size()) {
    std::vector<uint32_t> before(2 * edges_.size(), kNone);
    before.swap(edges_);
    for (const uint32_t other : before)
      if (other != kNone) edges_[edge_slot(nodes_[other].parent, nodes_[other].tokens[0])] = other;
  }
  edges_[edge_slot(nodes_[node].parent, nodes_[node].tokens[0])] = node;
  ++edge_count_;
}

void RadixIndex::remove_edge(uint32_t node) {
  const size_t mask = edges_.size() - 1;
  size_t at = edge_slot(nodes_[node].parent, nodes_[node].tokens[0]);
  edges_[at] = kNone;
  --edge_count_;
  // Those behind the gap, which a probe might no longer reach, are put in again.
  for (at = (at + 1) & mask; edges_[at] != kNone; at = (at + 1) & mask) {
    const uint32_t other = std::exchange(edges_[at], kNone);
    edges_[edge_slot(nodes_[other].parent, nodes_[other].tokens[0])] = other;
  }
}

/// Into the order of use, behind `older`; kNone: as the first.
void RadixIndex::enlist(uint32_t node, uint32_t older) {
  const uint32_t newer = older == kNone ? oldest_ : nodes_[older].newer;
  nodes_[node].older = older;
  nodes_[node].newer = newer;
  (older == kNone ? oldest_ : nodes_[older].newer) = node;
  (newer == kNone ? newest_ : nodes_[newer].older) = node;
}

void RadixIndex::delist(uint32_t node) {
  const Node& n = nodes_[node];
  (n.older == kNone ? oldest_ : nodes_[n.older].newer) = n.newer;
  (n.newer == kNone ? newest_ : nodes_[n.newer].older) = n.older;
}

RadixIndex::Place RadixIndex::walk(uint32_t root, std::span<const int32_t> tokens) {
  uint32_t node = root, length = 0;
  while (length < tokens.size()) {
    const uint32_t next = child(node, tokens[length]);
    if (next == kNone) break;
    const std::vector<int32_t>& run = nodes_[next].tokens;
    const auto most = uint32_t(std::min<size_t>(run.size(), tokens.size() - length));
    const bool all = std::memcmp(run.data(), &tokens[length], most * 4) == 0;  // the common case, many tokens at a time
    const auto same =
        all ? most
            : uint32_t(std::mismatch(run.begin(), run.begin() + most, tokens.begin() + length).first - run.begin());
    node = next;
    length += same;
    if (same < run.size()) return {node, length, uint32_t(run.size()) - same};
  }
  return {node, length, 0};
}

uint32_t RadixIndex::page_of(uint32_t node, uint32_t index) const {
  while (index >= nodes_[node].first_page() + nodes_[node].pages.size()) node = nodes_[node].first_child;
  return nodes_[node].pages[index - nodes_[node].first_page()];
}

void RadixIndex::touch(uint32_t node, uint64_t now) {
  for (; node != kNone; node = nodes_[node].parent) {
    nodes_[node].used = uint32_t(now);
    if (nodes_[node].parent == kNone) return;
    delist(node);
    enlist(node, newest_);
  }
}

uint32_t RadixIndex::find(uint64_t space, std::span<const int32_t> tokens, std::vector<uint32_t>* pages) {
  const auto root = roots_.find(space);
  if (root == roots_.end()) return 0;
  const Place place = walk(root->second, tokens);
  if (place.length == 0) return 0;
  // From the end to the front: a node holds the pages from its first one to where its children's begin.
  pages->resize((place.length + kPageTokens - 1) / kPageTokens);
  auto want = uint32_t(pages->size());
  for (uint32_t node = place.node; want > 0; node = nodes_[node].parent) {
    const uint32_t first = nodes_[node].first_page();
    while (want > first) {
      --want;
      (*pages)[want] = page_of(node, want);
    }
  }
  touch(place.node, ++clock_);
  return place.length;
}

uint32_t RadixIndex::make_node() {
  if (free_.empty()) {
    nodes_.emplace_back();
    return uint32_t(nodes_.size() - 1);
  }
  const uint32_t node = free_.back();
  free_.pop_back();
  return node;
}

void RadixIndex::link(uint32_t parent, uint32_t child) {
  Node &p = nodes_[parent], &c = nodes_[child];
  c.parent = parent;
  c.previous = kNone;
  c.next = p.first_child;
  if (c.next != kNone) nodes_[c.next].previous = child;
  p.first_child = child;
  add_edge(child);
}

/// Takes a node out of its parent's children; the parent may be a leaf then, which the caller sees to.
void RadixIndex::unlink(uint32_t node) {
  Node& n = nodes_[node];
  (n.previous == kNone ? nodes_[n.parent].first_child : nodes_[n.previous].next) = n.next;
  if (n.next != kNone) nodes_[n.next].previous = n.previous;
  remove_edge(node);
  n.next = n.previous = kNone;
}

/// Cuts a node in two; the upper one, of `keep` tokens, is new and is returned.
uint32_t RadixIndex::split(uint32_t node, uint32_t keep) {
  const uint32_t upper = make_node(), parent = nodes_[node].parent;
  unlink(node);
  Node &u = nodes_[upper], &n = nodes_[node];
  u = Node{};
  u.begin = n.begin;
  u.used = n.used;
  u.tokens.assign(n.tokens.begin(), n.tokens.begin() + keep);
  n.tokens.erase(n.tokens.begin(), n.tokens.begin() + keep);
  n.begin += keep;
  const uint32_t whole = n.first_page() - u.first_page();
  u.pages.assign(n.pages.begin(), n.pages.begin() + whole);
  n.pages.erase(n.pages.begin(), n.pages.begin() + whole);
  link(parent, upper);
  link(upper, node);
  enlist(upper, node);
  return upper;
}

void RadixIndex::add(uint64_t space, std::span<const int32_t> tokens, const SequenceState& state) {
  if (tokens.empty()) return;
  auto [root, fresh] = roots_.try_emplace(space, 0);
  if (fresh) {
    root->second = make_node();
    nodes_[root->second] = Node{};
  }
  const Place place = walk(root->second, tokens);
  const uint64_t now = ++clock_;
  const auto end = uint32_t(tokens.size()), last = (end + kPageTokens - 1) / kPageTokens;
  uint32_t node = place.node;
  if (place.length == end) {
    if (place.length > 0) touch(node, now);
    return;
  }
  if (place.rest > 0) node = split(node, uint32_t(nodes_[node].tokens.size()) - place.rest);
  const auto rest = tokens.subspan(place.length);
  if (Node& n = nodes_[node]; n.is_leaf() && n.parent != kNone) {
    // A sequence that goes on: its leaf grows. A page that was half full then may be another one now.
    if (place.length % kPageTokens != 0) {
      const uint32_t page = state.pages()[place.length / kPageTokens];
      if (n.pages.back() != page) {
        drop(n.pages.back());
        hold(page);
        n.pages.back() = page;
      }
    }
    n.tokens.insert(n.tokens.end(), rest.begin(), rest.end());
  } else {
    const uint32_t leaf = make_node();
    nodes_[leaf] = Node{};
    nodes_[leaf].begin = place.length;
    nodes_[leaf].tokens.assign(rest.begin(), rest.end());
    link(node, leaf);
    enlist(leaf, newest_);
    node = leaf;
  }
  Node& n = nodes_[node];
  for (uint32_t i = n.first_page() + uint32_t(n.pages.size()); i < last; ++i) {
    hold(state.pages()[i]);
    n.pages.push_back(state.pages()[i]);
  }
  touch(node, now);
}

/// Removes a leaf that has no tokens left, and what becomes a leaf without a page for its last rows by that.
void RadixIndex::remove(uint32_t node) {
  for (;;) {
    const uint32_t parent = nodes_[node].parent;
    unlink(node);
    delist(node);
    nodes_[node] = Node{};
    free_.push_back(node);
    Node& p = nodes_[parent];
    if (!p.is_leaf()) return;
    if (p.parent == kNone) {  // a root
      std::erase_if(roots_, [&](const auto& entry) { return entry.second == parent; });
      free_.push_back(parent);
      return;
    }
    const uint32_t whole = p.end() / kPageTokens * kPageTokens;
    if (whole > p.begin) {
      p.tokens.resize(whole - p.begin);
      return;
    }
    node = parent;
  }
}

/// Takes the last page of a leaf; whether that was nobody's.
bool RadixIndex::shorten(uint32_t leaf) {
  Node& n = nodes_[leaf];
  const bool free = !in_use(n.pages.back());
  drop(n.pages.back());
  n.pages.pop_back();
  const uint32_t end = (n.end() - 1) / kPageTokens * kPageTokens;
  if (end > n.begin) {
    n.tokens.resize(end - n.begin);
  } else {
    remove(leaf);
  }
  evicted_ += free;
  return free;
}

bool RadixIndex::evict() {
  for (uint32_t node = oldest_; node != kNone; node = nodes_[node].newer)
    if (nodes_[node].is_leaf() && !in_use(nodes_[node].pages.back())) return shorten(node);
  // A page of nobody may still be continued by pages in use, of a sequence that computed the same tokens itself. They
  // go too: nothing finds them without it.
  const auto above_nobodys = [&](uint32_t node) {
    for (; node != kNone; node = nodes_[node].parent)
      for (const uint32_t page : nodes_[node].pages)
        if (!in_use(page)) return true;
    return false;
  };
  for (;;) {
    uint32_t leaf = oldest_;
    while (leaf != kNone && !(nodes_[leaf].is_leaf() && above_nobodys(leaf))) leaf = nodes_[leaf].newer;
    if (leaf == kNone) return false;
    if (shorten(leaf)) return true;
  }
}

void RadixIndex::clear() {
  drop_all();
  forget(nodes_);
  forget(free_);
  roots_.clear();
  edges_ = {kNone, kNone};
  edge_count_ = 0;
  oldest_ = newest_ = kNone;
}

size_t RadixIndex::bytes() const {
  constexpr size_t kMapNode = 48;  // of libstdc++: the entry, its links and the block's header
  size_t sum = nodes_.size() * (sizeof(Node) + 2) + free_.capacity() * 4;  // a pointer for each block of 512 bytes
  for (const Node& n : nodes_) sum += n.tokens.capacity() * 4 + n.pages.capacity() * 4;
  return sum + roots_.size() * kMapNode + edges_.capacity() * 4;
}

std::vector<PrefixIndex::Run> RadixIndex::runs(size_t most) const {
  std::vector<Run> out;
  std::vector<std::pair<uint32_t, int32_t>> open;  // nodes, and the run before each; in order of their depth
  for (const auto& [space, root] : roots_) open.emplace_back(root, -1);
  for (size_t at = 0; at < open.size() && out.size() < most; ++at) {
    const auto [node, parent] = open[at];
    int32_t me = parent;
    if (nodes_[node].parent != kNone) {
      me = int32_t(out.size());
      out.push_back({parent, uint32_t(nodes_[node].tokens.size()), nodes_[node].used});
    }
    for (uint32_t child = nodes_[node].first_child; child != kNone; child = nodes_[child].next)
      open.emplace_back(child, me);
  }
  return out;
}

}  // namespace vibee
