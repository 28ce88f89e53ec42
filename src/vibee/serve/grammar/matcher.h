// SPDX-License-Identifier: Apache-2.0
// One question about one state: its stacks as a forest in which equal ones are one, the automata that run on top of
// them, and the steps of both. A matcher lives for one call; what outlives it is the state written out as words.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "vibee/serve/grammar/automata.h"
#include "vibee/serve/grammar/rules.h"
#include "vibee/serve/grammar/token_trie.h"

namespace vibee {

/// The part of a mask that depends on one automaton alone.
struct LocalMask {
  std::vector<int32_t> tokens;  ///< that it can read from end to end; empty where they are
  std::vector<uint64_t> bits;   ///< given as bits because they are many
  std::vector<uint32_t> exits;  ///< nodes of the trie, with children, at which a text of it may end
};
size_t bytes_of(const LocalMask& mask);
LocalMask local_mask(const Automata& automata, const TokenTrie& trie, uint32_t state);

class Matcher {
 public:
  /// Parses that are followed at once. Where a grammar is more ambiguous than that the last ones are dropped: what
  /// is written stays within the grammar, and less of it can be reached.
  static constexpr size_t kMaxThreads = 2048;
  /// Threads looked at in one call, in all.
  static constexpr size_t kMaxWork = 1 << 19;
  /// Positions looked at where one stack goes on.
  static constexpr size_t kMaxExpansion = 1 << 16;

  /// An automaton in `state`; where its text ends, `stack` goes on.
  struct Thread {
    uint32_t state, stack;
    bool operator==(const Thread&) const = default;
  };
  struct Threads {
    std::vector<Thread> list;  ///< in the order in which the grammar names them
    bool complete = false;     ///< the text may end here
  };

  Matcher(const Automata& automata, const RuleTable& rules) : automata_(automata), rules_(rules) {}

  Threads start();
  Threads read(std::span<const uint32_t> words);
  std::vector<uint32_t> write(const Threads& threads) const;

  /// After `bytes`, all threads that are there.
  Threads advance(Threads threads, std::string_view bytes);
  /// Sets the bit of every token that some thread can read; `local` gives the mask of an automaton's state.
  void mask(const Threads& threads, const TokenTrie& trie,
            const std::function<std::shared_ptr<const LocalMask>(uint32_t)>& local, std::span<uint64_t> bits);

 private:
  static constexpr uint32_t kBottom = 0;
  struct Node {
    uint32_t position, parent, height;
  };
  uint32_t push(uint32_t position, uint32_t parent);
  /// Where threads stand when `stack` goes on.
  const Threads& closure(uint32_t stack);
  Threads expand(uint32_t position, uint32_t parent);

  const Automata& automata_;
  const RuleTable& rules_;
  std::vector<Node> nodes_ = {{0, 0, 0}};
  std::unordered_map<uint64_t, uint32_t> known_;
  std::unordered_map<uint32_t, Threads> closures_;
};

}  // namespace vibee
