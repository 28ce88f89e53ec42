// SPDX-License-Identifier: Apache-2.0
#include "vibee/serve/grammar/regular.h"

#include <algorithm>

#include "vibee/model/token/text_index.h"

namespace vibee {
namespace {

constexpr size_t kMaxNodes = 300'000, kMaxChildren = 4'000'000;
constexpr uint64_t kMaxWork = 2'000'000;
constexpr uint32_t kMaxDepth = 1000;

}  // namespace

Regular::Regular() {
  nodes_ = {{nothing, false}, {empty, true}};
  intern({negation, true, kNothing});
}

Re Regular::intern(const Node& node, std::span<const Re> children) {
  uint64_t hash = hash_word(uint64_t(node.kind) << 60 ^ uint64_t(node.a) << 32 ^ node.b) ^ hash_word(node.c + 1);
  for (const Re child : children) hash = hash_word(hash ^ child);
  for (auto [at, end] = known_.equal_range(hash); at != end; ++at) {
    const Node& n = nodes_[at->second];
    if (n.kind != node.kind) continue;
    if (node.kind == either || node.kind == every) {
      if (std::ranges::equal(this->children(n), children)) return at->second;
    } else if (n.a == node.a && n.b == node.b && n.c == node.c) {
      return at->second;
    }
  }
  if (nodes_.size() >= kMaxNodes || children_.size() + children.size() > kMaxChildren) {
    exhausted_ = true;
    return kNothing;
  }
  const auto id = Re(nodes_.size());
  nodes_.push_back(node);
  if (node.kind == either || node.kind == every) {
    nodes_.back().a = uint32_t(children_.size());
    nodes_.back().b = uint32_t(children.size());
    children_.insert(children_.end(), children.begin(), children.end());
  }
  known_.emplace(hash, id);
  return id;
}

Re Regular::set(const ByteSet& bytes) {
  if (bytes.none()) return kNothing;
  auto at = std::find(sets_.begin(), sets_.end(), bytes);
  if (at == sets_.end()) at = sets_.insert(at, bytes);
  work_ += sets_.size();
  return intern({Kind::bytes, false, uint32_t(at - sets_.begin())});
}

Re Regular::literal(std::string_view text) {
  Re out = kEmpty;
  for (size_t i = text.size(); i-- > 0;) out = concat(set(ByteSet().set(uint8_t(text[i]))), out);
  return out;
}

Re Regular::concat(Re a, Re b) {
  if (a == kNothing || b == kNothing) return kNothing;
  if (a == kEmpty) return b;
  if (b == kEmpty) return a;
  return intern({both, nullable(a) && nullable(b), a, b});
}

Re Regular::sequence(std::span<const Re> parts) {
  Re out = kEmpty;
  for (size_t i = parts.size(); i-- > 0;) out = concat(parts[i], out);
  return out;
}

/// Union or intersection in a normal form: flat, sorted, each once, sets of bytes joined.
Re Regular::combine(Kind kind, std::vector<Re> parts) {
  const bool any = kind == either;
  const Re neutral = any ? kNothing : kEverything, absorbing = any ? kEverything : kNothing;
  for (size_t i = 0; i < parts.size(); ++i) {
    const Node n = nodes_[parts[i]];
    if (n.kind != kind) continue;
    parts[i] = neutral;
    parts.insert(parts.end(), children(n).begin(), children(n).end());
  }
  work_ += parts.size() / 4;
  ByteSet joined;
  bool first = true, none = false;
  std::erase_if(parts, [&](Re part) {
    if (nodes_[part].kind != bytes) return part == neutral;
    const ByteSet& s = sets_[nodes_[part].a];
    joined = first ? s : any ? joined | s : joined & s;
    first = false;
    return true;
  });
  if (!first) {
    none = joined.none();
    parts.push_back(set(joined));
  }
  if (none && !any) return kNothing;
  std::ranges::sort(parts);
  parts.erase(std::unique(parts.begin(), parts.end()), parts.end());
  if (std::ranges::binary_search(parts, absorbing)) return absorbing;
  if (parts.empty()) return neutral;
  if (parts.size() == 1) return parts[0];
  const auto is_nullable = [&](Re part) { return nullable(part); };
  return intern({kind, any ? std::ranges::any_of(parts, is_nullable) : std::ranges::all_of(parts, is_nullable)}, parts);
}

Re Regular::any_of(std::vector<Re> parts) { return combine(either, std::move(parts)); }
Re Regular::all_of(std::vector<Re> parts) { return combine(every, std::move(parts)); }

Re Regular::complement(Re a) {
  if (nodes_[a].kind == negation) return nodes_[a].a;
  return intern({negation, !nullable(a), a});
}

Re Regular::repeat(Re a, uint32_t least, uint32_t most) {
  if (least > most) return kNothing;
  if (most == 0 || a == kEmpty) return kEmpty;
  if (a == kNothing) return least == 0 ? kEmpty : kNothing;
  if (nullable(a)) least = 0;
  if (most == 1) return least == 1 ? a : any_of({a, kEmpty});
  return intern({repetition, least == 0, a, least, most});
}

Re Regular::multiple(uint32_t modulus, uint32_t rest) { return intern({modular, rest == 0, modulus, rest}); }

Re Regular::derivative(Re a, uint8_t byte) {
  depth_ = 0;
  return derive(a, byte);
}

Re Regular::derive(Re a, uint8_t byte) {
  const Node n = nodes_[a];
  switch (n.kind) {  // the cheap ones need no memory of what was derived
    case nothing:
    case empty: return kNothing;
    case bytes: return sets_[n.a][byte] ? kEmpty : kNothing;
    case modular:
      return byte < '0' || byte > '9' ? kNothing : multiple(n.a, uint32_t((uint64_t(n.b) * 10 + byte - '0') % n.a));
    case both:
      if (nullable(n.a)) break;
      if (nodes_[n.a].kind == bytes) return sets_[nodes_[n.a].a][byte] ? n.b : kNothing;
      if (++work_ > kMaxWork || depth_ > kMaxDepth) exhausted_ = true;
      if (exhausted_) return kNothing;
      {
        ++depth_;
        const Re left = derive(n.a, byte);
        --depth_;
        return concat(left, n.b);
      }
    default: break;
  }
  const uint64_t key = uint64_t(a) << 8 | byte;
  if (const auto known = derived_.find(key); known != derived_.end()) return known->second;
  if (++work_ > kMaxWork || depth_ > kMaxDepth) exhausted_ = true;
  if (exhausted_) return kNothing;
  ++depth_;
  Re out = kNothing;
  switch (n.kind) {
    case both:
      out = concat(derive(n.a, byte), n.b);  // the first part may be empty
      out = any_of({out, derive(n.b, byte)});
      break;
    case either:
    case every: {
      std::vector<Re> parts;
      for (uint32_t i = 0; i < n.b; ++i) {
        const Re part = derive(children_[n.a + i], byte);
        if (part == kNothing && n.kind == either) continue;
        parts.push_back(part);
        if (part == kNothing) break;
      }
      work_ += n.b / 4;  // most children are derived already, or at once
      out = combine(n.kind, std::move(parts));
      break;
    }
    case negation: out = complement(derive(n.a, byte)); break;
    default:  // repetition
      out = concat(derive(n.a, byte), repeat(n.a, n.b == 0 ? 0 : n.b - 1, n.c == kForever ? kForever : n.c - 1));
  }
  --depth_;
  derived_.emplace(key, out);
  return out;
}

std::vector<ByteSet> Regular::sets_of(Re a) const {
  std::vector<ByteSet> out;
  std::vector<bool> seen(nodes_.size()), taken(sets_.size());
  std::vector<Re> open = {a};
  while (!open.empty()) {
    const Re at = open.back();
    open.pop_back();
    if (seen[at]) continue;
    seen[at] = true;
    const Node& n = nodes_[at];
    switch (n.kind) {
      case bytes:
        if (!taken[n.a]) out.push_back(sets_[n.a]);
        taken[n.a] = true;
        break;
      case both: open.insert(open.end(), {n.a, n.b}); break;
      case either:
      case every: open.insert(open.end(), children(n).begin(), children(n).end()); break;
      case negation:
      case repetition: open.push_back(n.a); break;
      case modular:
        for (uint8_t digit = '0'; digit <= '9'; ++digit) out.push_back(ByteSet().set(digit));
        break;
      default: break;
    }
  }
  return out;
}

}  // namespace vibee
