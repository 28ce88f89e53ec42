// SPDX-License-Identifier: Apache-2.0
#include "vibee/train/loop/recompute_budget.h"

#include <algorithm>

#include "vibee/core/allocate/knapsack.h"
#include "vibee/graph/cost/cost.h"

namespace vibee {
namespace {

/// Operations in the time that a byte of rows takes: products run at some 10 to 20 on today's CPUs.
constexpr double kFlopsOfAByte = 16;

/// Plans that are tried at the end, each some milliseconds.
constexpr uint32_t kMostExchanges = 200;

constexpr Recompute kChoices[] = {Recompute::none, Recompute::cheap, Recompute::proj, Recompute::full};

/// Of each layer: what it keeps for the backward part, and the work of what that computes again.
struct Layer {
  uint64_t kept = 0;
  double work = 0;
};
std::vector<Layer> layers_as(const Graph& g, uint32_t rows, uint32_t length) {
  const TrainedRows step{{{double(length), double(rows) / length}}, double(rows)};
  const std::vector<uint32_t> layer = layer_of_nodes(g);
  std::vector<bool> read(g.values.size());
  for (const Node& node : g.nodes)
    for (const ValueId id : node.in) read[id] = read[id] || node.has("phase");
  std::vector<Layer> layers(layers_of(g));
  for (size_t n = 0; n < g.nodes.size(); ++n) {
    const Node& node = g.nodes[n];
    if (info(node.op).level == OpLevel::source) continue;
    if (node.text("phase") == "R") {
      const StepCost cost = train_node_cost(g, node, step);
      layers[layer[n]].work += cost.flops + kFlopsOfAByte * cost.row_bytes;
    }
    if (node.has("phase")) continue;
    for (const ValueId id : node.out)
      if (read[id]) layers[layer[n]].kept += bytes(g.type(id), {int64_t(rows), 0});
  }
  return layers;
}

}  // namespace

Result<double> recomputed_work(const Checkpoint& file, const ModelConfig& config, const TrainStepOptions& options,
                               uint32_t length) {
  VIBEE_ASSIGN(const Graph graph, TrainStep::graph(file, config, options));
  double sum = 0;
  for (const Layer& layer : layers_as(graph, options.max_rows, length)) sum += layer.work;
  return sum;
}

Result<std::vector<Recompute>> levels_within(const Checkpoint& file, const ModelConfig& config,
                                             const TrainStepOptions& options, uint32_t length, uint64_t budget) {
  std::vector<std::vector<KnapsackChoice>> items;
  TrainStepOptions o = options;
  o.recompute_layers.clear();
  for (const Recompute level : kChoices) {
    o.recompute = level;
    VIBEE_ASSIGN(const Graph graph, TrainStep::graph(file, config, o));
    const std::vector<Layer> layers = layers_as(graph, o.max_rows, length);
    items.resize(layers.size());
    for (size_t i = 0; i < layers.size(); ++i) items[i].push_back({layers[i].kept, layers[i].work});
  }
  std::vector<uint32_t> best;
  const auto fits = [&](const std::vector<uint32_t>& levels) -> Result<bool> {
    o.recompute_layers.clear();
    for (const uint32_t level : levels) o.recompute_layers.push_back(kChoices[level]);
    VIBEE_ASSIGN(const TrainStep::Memory memory, TrainStep::memory(file, config, o));
    return memory.sum() <= budget;
  };
  const auto work = [&](const std::vector<uint32_t>& levels) {
    double sum = 0;
    for (size_t i = 0; i < items.size(); ++i) sum += items[i][levels[i]].damage;
    return sum;
  };
  const auto consider = [&](const std::vector<uint32_t>& levels) -> Result<bool> {
    VIBEE_ASSIGN(const bool does, fits(levels));
    if (does && (best.empty() || work(levels) < work(best))) best = levels;
    return does;
  };
  uint64_t low = 0, high = 0;
  for (const std::vector<KnapsackChoice>& layer : items) {
    const auto [least, most] =
        std::minmax_element(layer.begin(), layer.end(), [](const auto& a, const auto& b) { return a.size < b.size; });
    low += least->size;
    high += most->size;
  }
  VIBEE_ASSIGN(const bool all, consider(std::vector<uint32_t>(items.size(), 0)));
  if (!all) {
    VIBEE_ASSIGN(const bool some, consider(std::vector<uint32_t>(items.size(), uint32_t(std::size(kChoices) - 1))));
    if (!some) {
      VIBEE_ASSIGN(const TrainStep::Memory memory, TrainStep::memory(file, config, o));
      return error(Code::no_memory, "a budget of {} bytes is below the {} of computing every layer again", budget,
                   memory.sum());
    }
    while (high - low > (high >> 10)) {
      const uint64_t middle = low + (high - low) / 2;
      VIBEE_ASSIGN(const KnapsackAnswer answer, solve_knapsack(items, middle));
      VIBEE_ASSIGN(const bool does, consider(answer.chosen));
      (does ? low : high) = middle;
    }
    // What the plan's memory leaves: the last layers live shortly, so it is not the sum of what is kept.
    for (size_t i = items.size(); i-- > 0;)
      while (best[i] > 0) {
        std::vector<uint32_t> lower = best;
        --lower[i];
        VIBEE_ASSIGN(const bool does, consider(lower));
        if (!does || best != lower) break;
      }
  }
  // And what one layer computing more again lets another compute less.
  uint32_t tries = all ? 0 : kMostExchanges;
  for (bool better = true; better && tries > 0;) {
    better = false;
    for (size_t i = 0; i < items.size() && !better; ++i)
      for (size_t j = 0; j < items.size() && !better; ++j)
        for (uint32_t up = best[i] + 1; up < std::size(kChoices) && !better; ++up)
          for (uint32_t down = 0; down < best[j] && !better; ++down) {
            std::vector<uint32_t> other = best;
            other[i] = up;
            other[j] = down;
            if (i == j || work(other) >= work(best) || tries == 0) continue;
            --tries;
            VIBEE_ASSIGN(better, consider(other));
          }
  }
  std::vector<Recompute> levels;
  levels.reserve(best.size());
  for (const uint32_t level : best) levels.push_back(kChoices[level]);
  return levels;
}

}  // namespace vibee
