// SPDX-License-Identifier: Apache-2.0
#include "vibee/serve/kvcache/radix_attention.h"

#include <algorithm>
#include <cstring>

#include "vibee/base/memory/forget.h"

namespace vibee {

RadixIndex::Place RadixIndex::walk(uint32_t root, std::span<const int32_t> tokens) {
  uint32_t node = root, length = 0;
  while (length < tokens.size()) {
    const auto it = children_.find({node, tokens[length]});
    if (it == children_.end()) break;
    const std::vector<int32_t>& run = nodes_[it->second].tokens;
    const auto most = uint32_t(std::min<size_t>(run.size(), tokens.size() - length));
    const bool all = std::memcmp(run.data(), &tokens[length], most * 4) == 0;  // the common case, many tokens at a time
    const auto same =
        all ? most
            : uint32_t(std::mismatch(run.begin(), run.begin() + most, tokens.begin() + length).first - run.begin());
    node = it->second;
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
    Node& n = nodes_[node];
    if (n.is_leaf() && n.parent != kNone) {
      auto entry = leaves_.extract({n.used, node});
      entry.value().first = now;
      leaves_.insert(std::move(entry));
    }
    n.used = now;
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
  children_[{parent, c.tokens[0]}] = child;
}

/// Takes a node out of its parent's children; the parent may be a leaf then, which the caller sees to.
void RadixIndex::unlink(uint32_t node) {
  Node& n = nodes_[node];
  (n.previous == kNone ? nodes_[n.parent].first_child : nodes_[n.previous].next) = n.next;
  if (n.next != kNone) nodes_[n.next].previous = n.previous;
  children_.erase({n.parent, n.tokens[0]});
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
  // The upper node must not count as a leaf in between: its only child comes at once.
  Node& p = nodes_[parent];
  u.parent = parent;
  u.next = p.first_child;
  if (u.next != kNone) nodes_[u.next].previous = upper;
  p.first_child = upper;
  children_[{parent, u.tokens[0]}] = upper;
  n.parent = upper;
  u.first_child = node;
  children_[{upper, n.tokens[0]}] = node;
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
    nodes_[leaf].used = now;
    leaves_.insert({now, leaf});
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
      leaves_.insert({p.used, parent});
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
    leaves_.erase({n.used, leaf});
    remove(leaf);
  }
  evicted_ += free;
  return free;
}

bool RadixIndex::evict() {
  for (const auto& [used, leaf] : leaves_)
    if (!in_use(nodes_[leaf].pages.back())) return shorten(leaf);
  // A page of nobody may still be continued by pages in use, of a sequence that computed the same tokens itself. They
  // go too: nothing finds them without it.
  const auto above_nobodys = [&](uint32_t node) {
    for (; node != kNone; node = nodes_[node].parent)
      for (const uint32_t page : nodes_[node].pages)
        if (!in_use(page)) return true;
    return false;
  };
  for (;;) {
    const auto leaf =
        std::find_if(leaves_.begin(), leaves_.end(), [&](const auto& entry) { return above_nobodys(entry.second); });
    if (leaf == leaves_.end()) return false;
    if (shorten(leaf->second)) return true;
  }
}

void RadixIndex::clear() {
  drop_all();
  forget(nodes_);
  forget(free_);
  roots_.clear();
  children_.clear();
  leaves_.clear();
}

size_t RadixIndex::bytes() const {
  constexpr size_t kMapNode = 48;  // of libstdc++: the entry, its links and the block's header
  size_t sum = nodes_.capacity() * sizeof(Node) + free_.capacity() * 4;
  for (const Node& n : nodes_) sum += n.tokens.capacity() * 4 + n.pages.capacity() * 4;
  return sum + (children_.size() + roots_.size() + leaves_.size()) * kMapNode + children_.bucket_count() * 8;
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
