// SPDX-License-Identifier: Apache-2.0
#include "vibee/serve/grammar/automata.h"

#include <algorithm>
#include <map>

namespace vibee {
namespace {

constexpr size_t kMaxStates = 50'000;      // of one automaton
constexpr size_t kMaxEntries = 6'000'000;  // of the table of a grammar: 24 MB

}  // namespace

Result<uint32_t> Automata::add(Regular& regular, Re expression) {
  const auto too_large = [] {
    return error(Code::unsupported, "takes an automaton of more than {} states; use smaller counts", kMaxStates);
  };
  if (regular.exhausted()) return too_large();
  if (const auto known = starts_.find(expression); known != starts_.end()) return known->second;

  // Bytes by what the sets say of them; those that nobody can write are a class of their own.
  std::array<uint8_t, 256> class_of{};
  std::vector<uint8_t> example;  // of each class but 0
  {
    const std::vector<ByteSet> sets = regular.sets_of(expression);
    std::vector<uint32_t> group(256, 0);
    for (const ByteSet& s : sets) {
      std::map<std::pair<uint32_t, bool>, uint32_t> split;
      for (uint32_t b = 0; b < 256; ++b)
        group[b] = split.emplace(std::pair(group[b], s[b]), uint32_t(split.size())).first->second;
    }
    std::map<uint32_t, uint8_t> numbers;
    for (uint32_t b = 0; b < 256; ++b) {
      if (!spelled_[b]) continue;
      // 256 classes of spelled bytes leave none for the others, and then there are none.
      const auto [at, fresh] = numbers.emplace(group[b], uint8_t(example.size() + (spelled_.all() ? 0 : 1)));
      if (fresh) example.push_back(uint8_t(b));
      class_of[b] = at->second;
    }
  }
  const uint32_t unspelled = spelled_.all() ? 0 : 1;
  const auto width = uint32_t(example.size()) + unspelled;

  std::vector<Re> expressions = {expression};
  std::unordered_map<Re, uint32_t> numbers = {{expression, 0}};
  std::vector<uint32_t> table;
  for (size_t at = 0; at < expressions.size(); ++at) {
    table.resize(table.size() + width, kDead);
    for (uint32_t c = 0; c < example.size(); ++c) {
      const Re next = regular.derivative(expressions[at], example[c]);
      if (next == Regular::kNothing) continue;
      const auto [known, fresh] = numbers.emplace(next, uint32_t(expressions.size()));
      if (fresh) expressions.push_back(next);
      table[at * width + c + unspelled] = known->second;
    }
    if (regular.exhausted() || expressions.size() > kMaxStates || next_.size() + table.size() > kMaxEntries)
      return too_large();
  }

  // Backwards from where a text may end; the rest is dead.
  const auto n = uint32_t(expressions.size());
  std::vector<std::vector<uint32_t>> from(n);
  std::vector<uint32_t> open;
  std::vector<bool> lives(n);
  for (uint32_t s = 0; s < n; ++s) {
    for (uint32_t c = 0; c < width; ++c)
      if (const uint32_t to = table[size_t(s) * width + c]; to != kDead) from[to].push_back(s);
    if (regular.nullable(expressions[s])) {
      lives[s] = true;
      open.push_back(s);
    }
  }
  while (!open.empty()) {
    const uint32_t s = open.back();
    open.pop_back();
    for (const uint32_t before : from[s]) {
      if (lives[before]) continue;
      lives[before] = true;
      open.push_back(before);
    }
  }
  std::vector<uint32_t> number(n, kDead);
  const auto base = uint32_t(states_.size());
  uint32_t count = 0;
  for (uint32_t s = 0; s < n; ++s)
    if (lives[s]) number[s] = base + count++;
  if (lives[0]) {
    automata_.push_back({class_of, base, width});
    for (uint32_t s = 0; s < n; ++s) {
      if (!lives[s]) continue;
      State state{uint32_t(next_.size()), uint32_t(automata_.size() - 1), regular.nullable(expressions[s]), false};
      for (uint32_t c = 0; c < width; ++c) {
        const uint32_t to = table[size_t(s) * width + c];
        next_.push_back(to == kDead ? kDead : number[to]);
        state.moves |= next_.back() != kDead;
      }
      states_.push_back(state);
    }
  }
  starts_.emplace(expression, number[0]);
  return number[0];
}

}  // namespace vibee
