// SPDX-License-Identifier: Apache-2.0
#include "vibee/serve/grammar/matcher.h"

#include <algorithm>
#include <map>
#include <unordered_set>

namespace vibee {
namespace {

/// Looks for what an automaton can read below a node of the trie.
class Walk {
 public:
  Walk(const Automata& automata, const TokenTrie& trie) : automata_(automata), trie_(trie), rows_(trie.depth() + 1) {}

  /// Calls `visit(node, state)` for every node below `root` that is reached from `state`, but for subtrees of plain
  /// tokens of at most `plain` characters.
  template <class Visit>
  void operator()(uint32_t root, uint32_t state, uint32_t plain, const Visit& visit) {
    const std::span<const TokenTrie::Node> nodes = trie_.nodes();
    const Automata::View view = automata_.view(state);
    rows_[nodes[root].depth] = view.row(state);
    for (uint32_t at = root + 1, end = nodes[root].end; at < end;) {
      const TokenTrie::Node& node = nodes[at];
      if (node.plain <= plain) {
        at = node.end;
        continue;
      }
      const uint32_t next = view.next[rows_[node.depth - 1] + view.classes[node.byte]];
      if (next == Automata::kDead) {
        at = node.end;
        continue;
      }
      rows_[node.depth] = view.row(next);
      visit(at, next);
      ++at;
    }
  }

 private:
  const Automata& automata_;
  const TokenTrie& trie_;
  std::vector<uint32_t> rows_;  // of the states at the nodes above, by depth
};

/// Whether every ending of a character with bytes `low` to `high` first and `more` behind that leads to `target`.
bool all_lead_to(const Automata& automata, const TokenTrie& trie, uint32_t state, uint32_t low, uint32_t high,
                 uint32_t more, uint32_t target) {
  uint32_t known = Automata::kDead;  // neighbours mostly lead to the same
  for (uint32_t byte = low; byte <= high; ++byte) {
    if (!trie.spells(uint8_t(byte))) continue;
    const uint32_t next = automata.step(state, uint8_t(byte));
    if (next == Automata::kDead) return false;
    if (next == known) continue;
    if (more == 0 ? next != target : !all_lead_to(automata, trie, next, 0x80, 0xbf, more - 1, target)) return false;
    known = next;
  }
  return true;
}

/// The state behind every plain character, kDead where there is no such one.
uint32_t behind_plain(const Automata& automata, const TokenTrie& trie, uint32_t state) {
  const uint32_t target = automata.step(state, ' ');
  if (target == Automata::kDead) return target;
  for (uint32_t code = 0x20; code < 0x80; ++code)
    if (TokenTrie::plain(code) && trie.spells(uint8_t(code)) && automata.step(state, uint8_t(code)) != target)
      return Automata::kDead;
  // The well-formed characters of several bytes (Unicode, table 3-7): first bytes, then the range of the second.
  constexpr struct {
    uint8_t first, last, low, high, more;
  } kForms[] = {{0xc2, 0xdf, 0x80, 0xbf, 0}, {0xe0, 0xe0, 0xa0, 0xbf, 1}, {0xe1, 0xec, 0x80, 0xbf, 1},
                {0xed, 0xed, 0x80, 0x9f, 1}, {0xee, 0xef, 0x80, 0xbf, 1}, {0xf0, 0xf0, 0x90, 0xbf, 2},
                {0xf1, 0xf3, 0x80, 0xbf, 2}, {0xf4, 0xf4, 0x80, 0x8f, 2}};
  for (const auto& form : kForms) {
    uint32_t known = Automata::kDead;
    for (uint32_t first = form.first; first <= form.last; ++first) {
      if (!trie.spells(uint8_t(first))) continue;
      const uint32_t next = automata.step(state, uint8_t(first));
      if (next == Automata::kDead) return next;
      if (next != known && !all_lead_to(automata, trie, next, form.low, form.high, form.more, target))
        return Automata::kDead;
      known = next;
    }
  }
  return target;
}

/// How many plain characters in a row may come, none of which can be the last of the automaton's text; at most
/// kMostPlain.
uint32_t plain_run(const Automata& automata, const TokenTrie& trie, uint32_t state) {
  uint32_t run = 0;
  for (; run < TokenTrie::kMostPlain; ++run) {
    const uint32_t next = behind_plain(automata, trie, state);
    if (next == Automata::kDead || automata.accepting(next)) break;
    if (next == state) return TokenTrie::kMostPlain;
    state = next;
  }
  return run;
}

void set_bits(std::span<const int32_t> tokens, std::span<uint64_t> bits) {
  for (const int32_t token : tokens) bits[size_t(token) / 64] |= uint64_t(1) << (token % 64);
}

uint64_t pair_of(uint32_t a, uint32_t b) { return uint64_t(a) << 32 | b; }

}  // namespace

LocalMask local_mask(const Automata& automata, const TokenTrie& trie, uint32_t state) {
  LocalMask out;
  const uint32_t plain = plain_run(automata, trie, state);
  Walk(automata, trie)(0, state, plain, [&](uint32_t node, uint32_t reached) {
    const auto tokens = trie.tokens_at(node);
    out.tokens.insert(out.tokens.end(), tokens.begin(), tokens.end());
    if (automata.accepting(reached) && trie.nodes()[node].end > node + 1) out.exits.push_back(node);
  });
  if (plain > 0) out.bits.assign(trie.plain_tokens(plain).begin(), trie.plain_tokens(plain).end());
  if (plain > 0 || out.tokens.size() > trie.size() / 32) {
    out.bits.resize((trie.size() + 63) / 64);
    set_bits(out.tokens, out.bits);
    out.tokens = {};
  }
  return out;
}

size_t bytes_of(const LocalMask& mask) {
  return sizeof(mask) + mask.tokens.capacity() * 4 + mask.bits.capacity() * 8 + mask.exits.capacity() * 4;
}

uint32_t Matcher::push(uint32_t position, uint32_t parent) {
  const auto [at, fresh] = known_.emplace(pair_of(position, parent), uint32_t(nodes_.size()));
  if (fresh) nodes_.push_back({position, parent, nodes_[parent].height + 1});
  return at->second;
}

Matcher::Threads Matcher::expand(uint32_t position, uint32_t parent) {
  Threads out;
  std::unordered_set<uint64_t> seen, listed;
  std::vector<std::pair<uint32_t, uint32_t>> open = {{position, parent}};
  while (!open.empty() && seen.size() < kMaxExpansion && out.list.size() < kMaxThreads) {
    auto [at, up] = open.back();
    open.pop_back();
    if (!seen.insert(pair_of(at, up)).second) continue;
    const RuleTable::Position& p = rules_.at(at);
    if (p.kind == RuleTable::end) {
      if (up == kBottom)
        out.complete = true;
      else
        open.push_back({nodes_[up].position, nodes_[up].parent});
      continue;
    }
    // A call at the end of its rule leaves nothing to come back to.
    const uint32_t back = rules_.at(at + 1).kind == RuleTable::end ? up : push(at + 1, up);
    if (p.kind == RuleTable::terminal) {
      if (automata_.moves(p.id) && listed.insert(pair_of(p.id, back)).second) out.list.push_back({p.id, back});
      if (automata_.accepting(p.id)) open.push_back({at + 1, up});
    } else {
      const std::span<const uint32_t> alternatives = rules_.alternatives(p.id);
      for (size_t i = alternatives.size(); i-- > 0;)
        if (nodes_[back].height + rules_.at(alternatives[i]).need <= RuleTable::kMaxStack)
          open.push_back({alternatives[i], back});
    }
  }
  return out;
}

const Matcher::Threads& Matcher::closure(uint32_t stack) {
  if (const auto known = closures_.find(stack); known != closures_.end()) return known->second;
  Threads out;
  if (stack == kBottom)
    out.complete = true;
  else
    out = expand(nodes_[stack].position, nodes_[stack].parent);
  return closures_.emplace(stack, std::move(out)).first->second;
}

Matcher::Threads Matcher::start() { return expand(rules_.root(), kBottom); }

Matcher::Threads Matcher::read(std::span<const uint32_t> words) {
  Threads out;
  for (size_t at = 0; at < words.size();) {
    const uint32_t state = words[at], height = words[at + 1];
    uint32_t stack = kBottom;
    for (size_t i = height; i-- > 0;) stack = push(words[at + 2 + i], stack);
    out.list.push_back({state, stack});
    at += 2 + height;
  }
  return out;
}

std::vector<uint32_t> Matcher::write(const Threads& threads) const {
  std::vector<uint32_t> out;
  for (const Thread& t : threads.list) {
    out.insert(out.end(), {t.state, nodes_[t.stack].height});
    for (uint32_t at = t.stack; at != kBottom; at = nodes_[at].parent) out.push_back(nodes_[at].position);
  }
  return out;
}

Matcher::Threads Matcher::advance(Threads threads, std::string_view bytes) {
  std::unordered_set<uint64_t> listed;
  for (const char byte : bytes) {
    Threads next;
    listed.clear();
    const auto add = [&](const Thread& t) {
      if (next.list.size() < kMaxWork && listed.insert(pair_of(t.state, t.stack)).second) next.list.push_back(t);
    };
    for (const Thread& t : threads.list) {
      const uint32_t state = automata_.step(t.state, uint8_t(byte));
      if (state != Automata::kDead) add({state, t.stack});
    }
    const size_t moved = next.list.size();  // first, so that what stays inside one automaton is never dropped
    for (size_t i = 0; i < moved && next.list.size() < kMaxWork; ++i) {
      if (!automata_.accepting(next.list[i].state)) continue;
      const Threads& behind = closure(next.list[i].stack);
      next.complete |= behind.complete;
      for (const Thread& t : behind.list) add(t);
    }
    std::erase_if(next.list, [&](const Thread& t) { return !automata_.moves(t.state); });
    threads = std::move(next);
  }
  if (threads.list.size() > kMaxThreads) threads.list.resize(kMaxThreads);
  return threads;
}

void Matcher::mask(const Threads& threads, const TokenTrie& trie,
                   const std::function<std::shared_ptr<const LocalMask>(uint32_t)>& local, std::span<uint64_t> bits) {
  // Where stacks go on: for each the nodes of the trie. Every round stands deeper in the trie.
  std::map<uint32_t, std::vector<uint32_t>> open;
  for (const Thread& t : threads.list) {
    const auto mask = local(t.state);
    set_bits(mask->tokens, bits);
    for (size_t i = 0; i < mask->bits.size(); ++i) bits[i] |= mask->bits[i];
    if (t.stack != kBottom) open[t.stack].insert(open[t.stack].end(), mask->exits.begin(), mask->exits.end());
  }
  Walk walk(automata_, trie);
  std::vector<uint32_t> found;  // nodes that were reached through the end of an automaton's text
  size_t work = 0;
  while (!open.empty()) {
    std::map<uint32_t, std::vector<uint32_t>> deeper;
    for (auto& [stack, nodes] : open) {
      std::ranges::sort(nodes);
      nodes.erase(std::unique(nodes.begin(), nodes.end()), nodes.end());
      const Threads& behind = closure(stack);
      work += behind.list.size() * nodes.size();
      if (work >= kMaxWork) return;  // what advance() may not reach is not promised
      for (const Thread& t : behind.list) {
        std::vector<uint32_t>* exits = t.stack == kBottom ? nullptr : &deeper[t.stack];
        for (const uint32_t node : nodes) {
          walk(node, t.state, 0, [&](uint32_t at, uint32_t state) {
            found.push_back(at);
            if (exits && automata_.accepting(state) && trie.nodes()[at].end > at + 1) exits->push_back(at);
          });
        }
      }
    }
    std::erase_if(deeper, [](const auto& entry) { return entry.second.empty(); });
    open = std::move(deeper);
  }
  for (const uint32_t node : found) set_bits(trie.tokens_at(node), bits);
}

}  // namespace vibee
