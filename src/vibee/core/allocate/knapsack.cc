// SPDX-License-Identifier: Apache-2.0
#include "vibee/core/allocate/knapsack.h"

#include <algorithm>
#include <limits>

namespace vibee {
namespace {

constexpr uint64_t kCells = 4096;

/// A choice that no smaller one is as good as.
struct Offer {
  uint64_t extra;  ///< size above the item's smallest
  double damage;
  uint32_t choice;
};

std::vector<Offer> pareto(const std::vector<KnapsackChoice>& choices) {
  std::vector<uint32_t> order(choices.size());
  for (uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
    return choices[a].size != choices[b].size ? choices[a].size < choices[b].size
                                              : choices[a].damage < choices[b].damage;
  });
  std::vector<Offer> offers;
  for (const uint32_t i : order)
    if (offers.empty() || choices[i].damage < offers.back().damage)
      offers.push_back({choices[i].size - choices[order[0]].size, choices[i].damage, i});
  return offers;
}

/// A step from one corner of an item's lower hull to the next.
struct Step {
  double rate;  ///< damage that a byte takes off
  uint32_t item, to;
  uint64_t size;
  double gain;
};
std::vector<Step> hull_steps(const std::vector<std::vector<Offer>>& items) {
  std::vector<Step> steps;
  for (uint32_t i = 0; i < items.size(); ++i) {
    const std::vector<Offer>& o = items[i];
    for (uint32_t at = 0; at + 1 < o.size();) {
      uint32_t next = at + 1;
      const auto rate = [&](uint32_t to) { return (o[at].damage - o[to].damage) / double(o[to].extra - o[at].extra); };
      for (uint32_t to = at + 2; to < o.size(); ++to)
        if (rate(to) >= rate(next)) next = to;
      steps.push_back({rate(next), i, next, o[next].extra - o[at].extra, o[at].damage - o[next].damage});
      at = next;
    }
  }
  std::stable_sort(steps.begin(), steps.end(), [](const Step& a, const Step& b) { return a.rate > b.rate; });
  return steps;
}

struct Picks {
  std::vector<uint32_t> offer;  ///< one an item
  uint64_t extra = 0;
  double damage = 0;
};
Picks sum_of(const std::vector<std::vector<Offer>>& items, std::vector<uint32_t> offer) {
  Picks p{std::move(offer), 0, 0};
  for (size_t i = 0; i < items.size(); ++i) {
    p.extra += items[i][p.offer[i]].extra;
    p.damage += items[i][p.offer[i]].damage;
  }
  return p;
}

/// Sizes in cells, rounded up: never above `extra`.
Picks by_cells(const std::vector<std::vector<Offer>>& items, uint64_t extra) {
  const uint64_t cell = std::max<uint64_t>(1, (extra + kCells - 1) / kCells), cells = extra / cell;
  constexpr double kNever = std::numeric_limits<double>::infinity();
  std::vector<double> least(cells + 1, 0), before;
  std::vector<std::vector<uint32_t>> chosen(items.size(), std::vector<uint32_t>(cells + 1));
  for (size_t i = 0; i < items.size(); ++i) {
    before = std::exchange(least, std::vector<double>(cells + 1, kNever));
    for (uint32_t o = 0; o < items[i].size(); ++o) {
      const uint64_t takes = (items[i][o].extra + cell - 1) / cell;
      for (uint64_t c = takes; c <= cells; ++c)
        if (const double sum = before[c - takes] + items[i][o].damage; sum < least[c]) least[c] = sum, chosen[i][c] = o;
    }
  }
  std::vector<uint32_t> offer(items.size());
  uint64_t c = cells;
  for (size_t i = items.size(); i-- > 0;) {
    offer[i] = chosen[i][c];
    c -= (items[i][offer[i]].extra + cell - 1) / cell;
  }
  return sum_of(items, std::move(offer));
}

/// The steps of the hulls, the best first, that still fit.
Picks by_steps(const std::vector<std::vector<Offer>>& items, const std::vector<Step>& steps, uint64_t extra) {
  std::vector<uint32_t> offer(items.size());
  std::vector<bool> stuck(items.size());
  uint64_t left = extra;
  for (const Step& s : steps) {
    if (stuck[s.item] || s.size > left) {
      stuck[s.item] = true;
      continue;
    }
    offer[s.item] = s.to;
    left -= s.size;
  }
  return sum_of(items, std::move(offer));
}

void fill(const std::vector<std::vector<Offer>>& items, uint64_t extra, Picks* p) {
  for (;;) {
    double best = 0;
    std::pair<size_t, uint32_t> move;
    for (size_t i = 0; i < items.size(); ++i) {
      const Offer& now = items[i][p->offer[i]];
      for (uint32_t o = p->offer[i] + 1; o < items[i].size(); ++o) {
        const uint64_t more = items[i][o].extra - now.extra;
        const double gain = now.damage - items[i][o].damage;
        if (p->extra + more <= extra && gain / double(more) > best) best = gain / double(more), move = {i, o};
      }
    }
    if (best <= 0) return;
    p->offer[move.first] = move.second;
    *p = sum_of(items, std::move(p->offer));
  }
}

}  // namespace

Result<KnapsackAnswer> solve_knapsack(std::span<const std::vector<KnapsackChoice>> items, uint64_t budget) {
  std::vector<std::vector<Offer>> offers;
  uint64_t smallest = 0;
  for (const std::vector<KnapsackChoice>& choices : items) {
    VIBEE_CHECK(!choices.empty(), "item {} has no choices", offers.size());
    offers.push_back(pareto(choices));
    smallest += choices[offers.back()[0].choice].size;
  }
  if (smallest > budget)
    return error(Code::no_memory, "a budget of {} is below {}, the sum of the smallest", budget, smallest);
  uint64_t all = 0;  // what every item's best takes above its smallest
  for (const std::vector<Offer>& o : offers) all += o.back().extra;
  const uint64_t extra = std::min(budget - smallest, all);

  const std::vector<Step> steps = hull_steps(offers);
  KnapsackAnswer answer;
  for (const std::vector<Offer>& o : offers) answer.bound += o[0].damage;
  uint64_t left = extra;
  for (const Step& s : steps) {
    const uint64_t takes = std::min(s.size, left);
    answer.bound -= s.gain * double(takes) / double(s.size);
    left -= takes;
  }
  Picks best = by_cells(offers, extra);
  fill(offers, extra, &best);
  Picks other = by_steps(offers, steps, extra);
  fill(offers, extra, &other);
  if (other.damage < best.damage) best = std::move(other);
  for (size_t i = 0; i < offers.size(); ++i) answer.chosen.push_back(offers[i][best.offer[i]].choice);
  answer.size = smallest + best.extra;
  answer.damage = best.damage;
  return answer;
}

}  // namespace vibee
