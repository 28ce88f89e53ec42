// SPDX-License-Identifier: Apache-2.0
// What steps of known models cost, against closed forms; times on a machine of flat rates are counts.
#include "vibee/plan/train/train_price.h"

#include <gtest/gtest.h>

#include <cmath>

#include "vibee/kit/flat_rates.h"
#include "vibee/model/arch/arch.h"
#include "vibee/train/loop/new_model.h"
#include "vibee/train/loop/train_step.h"

namespace vibee {
namespace {

constexpr double kLayers = 3, kDim = 32, kHeads = 4, kVocab = 128, kFf = 96, kRows = 48;

struct Trained {
  Graph graph;
  double weights = 0;  ///< elements of matrices that rows are multiplied by
};
Trained trained(const std::string& architecture, Recompute level = Recompute::none) {
  NewModel model;
  model.architecture = architecture;
  model.layers = uint32_t(kLayers);
  model.dim = uint32_t(kDim);
  model.heads = uint32_t(kHeads);
  model.vocab = uint32_t(kVocab);
  model.ff = uint32_t(kFf);
  model.context = 64;
  auto file = new_checkpoint(model, {});
  EXPECT_TRUE(file.ok()) << file.status().message();
  auto config = read_config(*file);
  EXPECT_TRUE(config.ok()) << config.status().message();
  TrainStepOptions options;
  options.max_rows = uint32_t(kRows);
  options.recompute = level;
  auto graph = TrainStep::graph(*file, *config, options);
  EXPECT_TRUE(graph.ok()) << graph.status().message();
  const double feed_forward = (architecture == "llama" ? 3 : 2) * kDim * kFf;
  return {std::move(*graph), kLayers * (4 * kDim * kDim + feed_forward) + kVocab * kDim};
}

/// Three documents, all rows with a target.
TrainedRows whole_step() { return {{{16, 3}}, kRows}; }
constexpr double kPairs = 3 * 16 * 17 / 2;

double flops_of(const Graph& g, const TrainedRows& step, std::initializer_list<Op> ops) {
  double sum = 0;
  for (const Node& node : g.nodes)
    for (const Op op : ops)
      if (node.op == op) sum += train_node_cost(g, node, step).flops;
  return sum;
}
constexpr std::initializer_list<Op> kProducts = {Op::linear,        Op::linear_dx,        Op::linear_dw,
                                                 Op::cross_entropy, Op::cross_entropy_dx, Op::cross_entropy_dw};
constexpr std::initializer_list<Op> kAttention = {Op::self_attention, Op::self_attention_dx};

TEST(TrainCost, IsSixTimesTheWeightsAndAttention) {
  for (const char* architecture : {"llama", "gpt2"}) {
    const Trained t = trained(architecture);
    EXPECT_EQ(flops_of(t.graph, whole_step(), kProducts), 6 * t.weights * kRows) << architecture;
    EXPECT_EQ(flops_of(t.graph, whole_step(), kAttention), 14 * kLayers * kPairs * kDim) << architecture;
    const MachineRates rates = flat_rates(1e-9);
    const double all = TrainPrice(t.graph, rates).flops(whole_step());
    EXPECT_GT(all, 6 * t.weights * kRows + 14 * kLayers * kPairs * kDim);
    EXPECT_LT(all, 1.1 * (6 * t.weights * kRows + 14 * kLayers * kPairs * kDim)) << "norms and activations";
  }
}

TEST(TrainCost, RecomputationAddsWhatItRepeats) {
  for (const char* architecture : {"llama", "gpt2"}) {
    const double none = flops_of(trained(architecture).graph, whole_step(), kProducts);
    const Trained cheap = trained(architecture, Recompute::cheap), full = trained(architecture, Recompute::full);
    EXPECT_EQ(flops_of(cheap.graph, whole_step(), kProducts), none);
    EXPECT_EQ(flops_of(full.graph, whole_step(), kAttention), 18 * kLayers * kPairs * kDim);
    // What only adds to the residual stream is not read again: the outputs of attention and of the feed-forward block.
    const double repeated = kLayers * (3 * kDim * kDim + (architecture[0] == 'l' ? 2 : 1) * kDim * kFf);
    EXPECT_EQ(flops_of(full.graph, whole_step(), kProducts), none + 2 * repeated * kRows);
  }
}

TEST(TrainCost, RowsWithoutATargetHaveNoLogits) {
  const Trained t = trained("llama");
  TrainedRows step = whole_step();
  step.targets = kRows / 4;
  EXPECT_EQ(flops_of(t.graph, step, kProducts),
            6 * (t.weights - kVocab * kDim) * kRows + 6 * kVocab * kDim * kRows / 4);
}

TEST(TrainedRows, CountsWhatRowsSee) {
  const TrainedRows two{{{10, 1}, {4, 2}}, 0};
  EXPECT_EQ(two.rows(), 18);
  EXPECT_EQ(two.pairs(0), 55 + 2 * 10);
  EXPECT_EQ(two.pairs(1), 18);
  EXPECT_EQ(two.pairs(3), (6 + 7 * 3) + 2 * (6 + 3));
  EXPECT_EQ(two.pairs(100), two.pairs(0));
}

/// With flat rates a product takes its multiply-adds, and attention the products of its scores.
TEST(TrainPrice, IsWhatTheWorkCounts) {
  const Trained t = trained("llama");
  const MachineRates rates = flat_rates(1e-9);
  const TimeStack time = TrainPrice(t.graph, rates).part(whole_step());
  const double head = kVocab * kDim;
  EXPECT_NEAR(time[Reason::products], 3e-9 * (t.weights - head) * kRows, 1e-15);
  EXPECT_NEAR(time[Reason::attention], 2e-9 * kLayers * kPairs * kDim, 1e-15);
  EXPECT_NEAR(time[Reason::loss], 1e-9 * (3 * head * kRows + kVocab * kRows), 1e-15);
  EXPECT_EQ(time[Reason::decode], 0);
  EXPECT_NEAR(time.sum(),
              time[Reason::products] + time[Reason::attention] + time[Reason::loss] + time[Reason::elementwise], 1e-18);
  const TimeStack forward = TrainPrice(t.graph, rates).loss_only(whole_step());
  EXPECT_NEAR(forward[Reason::products], 1e-9 * (t.weights - head) * kRows, 1e-15);
  EXPECT_NEAR(forward[Reason::loss], 1e-9 * (head * kRows + kVocab * kRows), 1e-15);
}

TEST(TrainPrice, TellsWhenGradientsAreReady) {
  const Trained t = trained("llama");
  const MachineRates rates = flat_rates(1e-9);
  std::vector<double> ready;
  const TimeStack time = TrainPrice(t.graph, rates).part(whole_step(), &ready);
  ASSERT_EQ(ready.size(), t.graph.outputs.size());
  double last = 0;
  for (const double at : ready) {
    EXPECT_GT(at, 0);
    last = std::max(last, at);
  }
  EXPECT_NEAR(last, time.sum(), 1e-15);
}

TEST(TrainPrice, ReadsFromMemoryWhatWasTouchedLongAgo) {
  const Trained t = trained("gpt2");
  MachineRates rates = flat_rates(1e-9);
  const double warm = TrainPrice(t.graph, rates).part(whole_step())[Reason::elementwise];
  rates.cache = rates.own_cache = 1;
  rates.read_rate = 1e9;
  double read = 0;
  for (const Node& node : t.graph.nodes) {
    const std::string_view op = info(node.op).name;
    const bool product = op.starts_with("linear") || op.starts_with("cross") || op.starts_with("self");
    if (info(node.op).level == OpLevel::source || node.op == Op::embed || product) continue;
    for (const ValueId id : node.in) read += double(bytes(t.graph.type(id), {int64_t(kRows), 0}));
  }
  const double cold = TrainPrice(t.graph, rates).part(whole_step())[Reason::elementwise] - warm;
  EXPECT_GT(cold, 0.3e-9 * read);
  EXPECT_LE(cold, 1e-9 * read * (1 + 1e-9));
}

}  // namespace
}  // namespace vibee
