// SPDX-License-Identifier: Apache-2.0
// The terminals of a grammar as deterministic automata of bytes in one table. A state from which no accepting one can
// be reached by bytes that the vocabulary spells is not there: whoever stands in a state can finish.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "vibee/base/status/status.h"
#include "vibee/serve/grammar/regular.h"

namespace vibee {

class Automata {
 public:
  static constexpr uint32_t kDead = ~0u;

  /// `spelled`: the bytes that exist.
  explicit Automata(const ByteSet& spelled) : spelled_(spelled) {}
  /// The first state of the automaton of `expression`, kDead when it has no text. The same expression has the same one.
  /// Code::unsupported when that takes too many states.
  Result<uint32_t> add(Regular& regular, Re expression);

  uint32_t step(uint32_t state, uint8_t byte) const {
    const State& s = states_[state];
    return next_[s.row + automata_[s.automaton].classes[byte]];
  }
  bool accepting(uint32_t state) const { return states_[state].accepting; }
  /// Whether any byte leads on.
  bool moves(uint32_t state) const { return states_[state].moves; }
  uint32_t size() const { return uint32_t(states_.size()); }
  size_t bytes() const {
    return states_.size() * sizeof(State) + next_.size() * 4 + automata_.size() * sizeof(Automaton);
  }

  /// What step() reads, for loops that stay in the automaton of a state.
  struct View {
    const uint8_t* classes;
    const uint32_t* next;  ///< the state behind class c of state s is next[row(s) + c]
    uint32_t first, width;
    uint32_t row(uint32_t state) const { return (state - first) * width; }
  };
  View view(uint32_t state) const {
    const Automaton& a = automata_[states_[state].automaton];
    return {a.classes.data(), next_.data() + states_[a.first].row, a.first, a.width};
  }

 private:
  struct State {
    uint32_t row;
    uint32_t automaton;
    bool accepting, moves;
  };
  struct Automaton {
    std::array<uint8_t, 256> classes;  ///< bytes that it does not tell apart
    uint32_t first, width;
  };
  ByteSet spelled_;
  std::vector<State> states_;
  std::vector<uint32_t> next_;
  std::vector<Automaton> automata_;
  std::unordered_map<Re, uint32_t> starts_;
};

}  // namespace vibee
