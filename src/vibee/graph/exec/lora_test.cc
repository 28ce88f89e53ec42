// SPDX-License-Identifier: Apache-2.0
// What adapters add: the plan against the interpreter, merged and not, over sequences with different adapters.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "vibee/base/random/philox.h"
#include "vibee/graph/exec/sample.h"
#include "vibee/graph/pass/pass.h"

namespace vibee {
namespace {

constexpr uint32_t kVocab = 12, kWidth = 40, kOut = 37, kRoom = 4;

Graph product(bool lora) {
  Graph g;
  const ValueId tokens = g.source(Op::input, {kI32, {kRows}}, {{"name", std::string("tokens")}});
  const ValueId table = g.source(Op::weight, {kF32, {Dim{kVocab}, Dim{kWidth}}}, {{"name", std::string("table")}});
  const ValueId w = g.source(Op::weight, {kF32, {Dim{kOut}, Dim{kWidth}}}, {{"name", std::string("w")}});
  const ValueId x = g.add(Op::embed, {tokens, table});
  ValueId y = g.add(Op::linear, {x, w});
  if (lora) {
    const ValueId h = g.add(Op::lora_down, {x}, {{"target", int64_t(0)}, {"rank", int64_t(kRoom)}});
    y = g.add(Op::lora_up, {y, h}, {{"target", int64_t(0)}});
  }
  g.outputs = {g.add(Op::take_rows, {y})};
  return g;
}

struct Adapter {
  std::vector<float> a, b;
  LoraWeights weights;
  Adapter(uint32_t rank, uint64_t seed) : a(size_t(rank) * kWidth), b(size_t(rank) * kOut) {
    RandomStream random(seed, Purpose::test);
    for (float& v : a) v = random.normal();
    for (float& v : b) v = random.normal();
    weights = {a.data(), b.data(), rank, 0.25f};
  }
};

TEST(Lora, PlansGiveWhatTheInterpreterGives) {
  const Adapter one(1, 1), two(kRoom, 2);
  const LoraWeights* who[] = {&one.weights, nullptr, &two.weights};
  const std::vector<std::vector<int32_t>> texts = {{1, 2, 3}, {3, 4}, {5, 6, 7, 8, 9, 1}};
  const Graph graph = product(true);
  auto weights = SampleWeights::make(graph, Isa::scalar, 3);
  ASSERT_TRUE(weights.ok());
  std::vector<float> first;
  for (const bool merged : {true, false}) {
    const std::vector<std::string> off = merged ? std::vector<std::string>{} : std::vector<std::string>{"merge_lora"};
    auto lowered = run_passes(graph, off);
    ASSERT_TRUE(lowered.ok()) << lowered.status().message();
    const auto is_merged = [](const Node& n) { return n.op == Op::linear_lora; };
    EXPECT_EQ(std::any_of(lowered->nodes.begin(), lowered->nodes.end(), is_merged), merged);
    for (uint32_t threads : {1u, 3u}) {
      PlanOptions o;
      o.max_rows = o.max_logits = 16;
      o.threads = threads;
      auto plan = Plan::compile(*lowered, weights->table(), o);
      ASSERT_TRUE(plan.ok()) << plan.status().message();
      Team team(threads);
      std::vector<int32_t> tokens, positions;
      std::vector<uint32_t> rows;
      std::vector<SequenceRows> sequences;
      for (size_t s = 0; s < texts.size(); ++s) {
        sequences.push_back({uint32_t(tokens.size()), uint32_t(texts[s].size()), 0, nullptr, who[s]});
        for (int32_t t : texts[s]) {
          rows.push_back(uint32_t(tokens.size()));
          positions.push_back(int32_t(rows.size()));
          tokens.push_back(t);
        }
      }
      (*plan)->run(team, {tokens, positions, sequences, rows}, {});
      const std::vector<float> got((*plan)->outputs(), (*plan)->outputs() + rows.size() * kOut);
      if (first.empty()) first = got;
      EXPECT_EQ(got, first) << merged << " " << threads;
      // One sequence alone takes the path of few rows: the same bytes.
      SequenceRows alone = sequences[0];
      (*plan)->run(
          team, {std::span(tokens).first(3), std::span(positions).first(3), {&alone, 1}, std::span(rows).first(3)}, {});
      EXPECT_TRUE(std::equal(got.begin(), got.begin() + 3 * kOut, (*plan)->outputs()));
    }
    const Graph* both[] = {&graph, &*lowered};
    for (const Graph* g : both) {
      size_t at = 0;
      for (size_t s = 0; s < texts.size(); ++s) {
        InterpretInputs in;
        in.integers["tokens"] = texts[s];
        if (who[s]) in.lora = {who[s], 1};
        const auto n = int64_t(texts[s].size());
        auto out = interpret(*g, in, weights->files(), {n, n});
        ASSERT_TRUE(out.ok()) << out.status().message();
        for (float v : (*out)[0].f) {
          EXPECT_NEAR(first[at], v, 1e-4 * (1 + std::fabs(v)));
          ++at;
        }
      }
    }
  }
}

TEST(Lora, TypesAreChecked) {
  Graph g = product(false);
  const ValueId x = g.nodes[3].out[0];
  for (const Attrs& attrs : {Attrs{{"rank", int64_t(2)}}, Attrs{{"target", int64_t(-1)}, {"rank", int64_t(2)}},
                             Attrs{{"target", int64_t(0)}}, Attrs{{"target", int64_t(0)}, {"rank", int64_t(0)}}}) {
    Graph bad = g;
    bad.add(Op::lora_down, {x}, attrs);
    EXPECT_FALSE(bad.status().ok());
  }
}

}  // namespace
}  // namespace vibee
