// SPDX-License-Identifier: Apache-2.0
#include "vibee/serve/grammar/rules.h"

#include <algorithm>

#include "vibee/base/text/quote.h"

namespace vibee {
namespace {

constexpr uint32_t kNever = 1u << 30;  // more stack than there is

/// A call from a rule at a place that its text may begin with.
struct LeftCall {
  uint32_t from, to;
  bool pushes;  ///< something stands behind it, so the stack grows
};

class Analysis {
 public:
  explicit Analysis(const Rules& rules) : rules_(rules), used_by_(rules.rules.size()) {
    for (uint32_t r = 0; r < rules.rules.size(); ++r)
      for (const auto& symbols : rules.rules[r].alternatives)
        for (const Symbol& s : symbols)
          if (!s.terminal) used_by_[s.id].push_back(r);
    need_.assign(rules.rules.size(), kNever);
    nullable_.assign(rules.rules.size(), 0);
    settle(&need_, [&](uint32_t r) {
      uint32_t least = kNever;
      for (const auto& symbols : rules_.rules[r].alternatives) least = std::min(least, need(symbols, 0));
      return least;
    });
    settle(&nullable_, [&](uint32_t r) {
      return uint32_t(std::ranges::any_of(rules_.rules[r].alternatives, [&](const auto& symbols) {
        return std::ranges::all_of(symbols, [&](const Symbol& s) { return nullable(s); });
      }));
    });
  }

  /// Stack that symbols from `from` on take above that of their rule; kNever when they have no text.
  uint32_t need(const Rules::Alternative& symbols, size_t from) const {
    uint32_t most = 0;
    for (size_t i = from; i < symbols.size(); ++i) {
      const Symbol& s = symbols[i];
      const uint32_t inside = s.terminal ? (s.id == Automata::kDead ? kNever : 0) : need_[s.id];
      most = std::max(most, std::min(kNever, inside + (i + 1 < symbols.size() ? 1 : 0)));
    }
    return most;
  }
  bool nullable(const Symbol& s) const {
    return s.terminal ? s.id != Automata::kDead && rules_.automata.accepting(s.id) : nullable_[s.id] != 0;
  }

  /// A closure of rules at one place of the text is endless exactly where calls go around in a circle and one pushes.
  Status refuse_left_recursion() const {
    const size_t n = rules_.rules.size();
    std::vector<std::vector<LeftCall>> out(n), in(n);
    for (uint32_t r = 0; r < n; ++r) {
      for (const auto& symbols : rules_.rules[r].alternatives) {
        if (need(symbols, 0) >= kNever) continue;
        for (size_t i = 0; i < symbols.size(); ++i) {
          const Symbol& s = symbols[i];
          if (!s.terminal) {
            const LeftCall call{r, s.id, i + 1 < symbols.size()};
            out[r].push_back(call);
            in[s.id].push_back(call);
          }
          if (!nullable(s)) break;
        }
      }
    }
    // Strongly connected parts (Kosaraju): by finishing times forwards, then backwards.
    std::vector<uint32_t> order, part(n, ~0u);
    std::vector<bool> seen(n);
    std::vector<std::pair<uint32_t, size_t>> path;
    for (uint32_t root = 0; root < n; ++root) {
      if (seen[root]) continue;
      seen[root] = true;
      path.push_back({root, 0});
      while (!path.empty()) {
        auto& [r, next] = path.back();
        if (next == out[r].size()) {
          order.push_back(r);
          path.pop_back();
        } else if (const uint32_t to = out[r][next++].to; !seen[to]) {
          seen[to] = true;
          path.push_back({to, 0});
        }
      }
    }
    std::vector<uint32_t> open;
    for (size_t i = n; i-- > 0;) {
      if (part[order[i]] != ~0u) continue;
      open.push_back(order[i]);
      part[order[i]] = order[i];
      while (!open.empty()) {
        const uint32_t r = open.back();
        open.pop_back();
        for (const LeftCall& call : in[r]) {
          if (part[call.from] != ~0u) continue;
          part[call.from] = order[i];
          open.push_back(call.from);
        }
      }
    }
    for (uint32_t r = 0; r < n; ++r)
      for (const LeftCall& call : out[r])
        if (call.pushes && part[call.from] == part[call.to])
          return error(Code::unsupported,
                       "{} calls itself before it reads anything (left recursion); write it as a repetition",
                       rules_.rules[r].name);
    return {};
  }

 private:
  /// Computes `value` of every rule again whenever that of one it uses has changed.
  template <class F>
  void settle(std::vector<uint32_t>* values, const F& value) {
    std::vector<uint32_t> open(rules_.rules.size());
    std::vector<bool> queued(open.size(), true);
    for (uint32_t r = 0; r < open.size(); ++r) open[r] = r;
    while (!open.empty()) {
      const uint32_t r = open.back();
      open.pop_back();
      queued[r] = false;
      const uint32_t now = value(r);
      if (now == (*values)[r]) continue;
      (*values)[r] = now;
      for (const uint32_t user : used_by_[r]) {
        if (queued[user]) continue;
        queued[user] = true;
        open.push_back(user);
      }
    }
  }

  const Rules& rules_;
  std::vector<std::vector<uint32_t>> used_by_;
  std::vector<uint32_t> need_, nullable_;
};

}  // namespace

Status Rules::alternative(Symbol rule, Alternative parts) {
  symbols += parts.size() + 1;
  if (symbols > RuleTable::kMaxSymbols)
    return error(Code::unsupported, "more than {} symbols in rules; use smaller counts or fewer alternatives",
                 RuleTable::kMaxSymbols);
  rules[rule.id].alternatives.push_back(std::move(parts));
  return {};
}

Result<RuleTable> RuleTable::make(const Rules& rules, Symbol root) {
  const Analysis analysis(rules);
  VIBEE_TRY(analysis.refuse_left_recursion());
  RuleTable table;
  const auto write = [&](const Rules::Alternative& symbols) {
    for (size_t i = 0; i < symbols.size(); ++i)
      table.positions_.push_back(
          {symbols[i].terminal ? terminal : rule, uint16_t(analysis.need(symbols, i)), symbols[i].id});
    table.positions_.push_back({end, 0, 0});
  };
  const uint32_t needed = analysis.need({root}, 0);
  if (needed >= kNever) return error(Code::invalid, "no text can be written that it allows");
  if (needed > kMaxStack) return error(Code::unsupported, "every text is nested more than {} deep", kMaxStack);
  write({root});
  for (const Rules::Rule& r : rules.rules) {
    table.first_.push_back(uint32_t(table.starts_.size()));
    for (const auto& symbols : r.alternatives) {
      if (analysis.need(symbols, 0) > kMaxStack) continue;
      table.starts_.push_back(uint32_t(table.positions_.size()));
      write(symbols);
    }
  }
  table.first_.push_back(uint32_t(table.starts_.size()));
  return table;
}

}  // namespace vibee
