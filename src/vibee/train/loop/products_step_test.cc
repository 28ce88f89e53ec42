// SPDX-License-Identifier: Apache-2.0
// Steps whose products are in fewer bits: every recipe beside the interpreter, over parts, threads, ranks and
// resumes, and against torch (data/golden/train).
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "vibee/graph/exec/interpret.h"
#include "vibee/kit/temp_folder.h"
#include "vibee/kit/trial_training.h"
#include "vibee/train/loop/run_state.h"

namespace vibee {
namespace {

std::vector<const ProductRecipe*> recipes() {
  std::vector<const ProductRecipe*> all;
  for (const ProductRecipe& recipe : product_recipes())
    if (!recipe.forward.plain()) all.push_back(&recipe);
  return all;
}
class ProductsOf : public testing::TestWithParam<const ProductRecipe*> {};
std::string name_of(const testing::TestParamInfo<const ProductRecipe*>& info) {
  std::string name(info.param->name);
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}
INSTANTIATE_TEST_SUITE_P(Recipes, ProductsOf, testing::ValuesIn(recipes()), name_of);

TrialTraining trial(const ProductRecipe* recipe) {
  TrialTraining t;
  t.options.precision.products = recipe;
  t.options.precision.fp8.history = 4;
  t.steps = 6;
  return t;
}

/// One linear of each kind by a plan beside the interpreter, whose sums are exact.
TEST_P(ProductsOf, PlansComputeWhatTheInterpreterSays) {
  constexpr int64_t kOut = 70, kIn = 40, kTokens = 45;
  Graph g;
  const auto weight = [&](const char* name, int64_t n, int64_t k) {
    return g.source(Op::weight, {kF32, {Dim{n}, Dim{k}}}, {{"name", std::string(name)}});
  };
  const ValueId ids = g.source(Op::input, {kI32, {kRows}}, {{"name", std::string("ids")}});
  const ValueId x = g.add(Op::embed, {ids, weight("x", kTokens, kIn)});
  const ValueId gradient = g.add(Op::embed, {ids, weight("g", kTokens, kOut)}), w = weight("w", kOut, kIn);
  g.outputs = {g.add(Op::linear, {x, w}), g.add(Op::linear_dx, {gradient, w}), g.add(Op::linear_dw, {gradient, x})};
  ASSERT_TRUE(g.status().ok());
  round_products(&g, *GetParam(), {});
  const auto again = parse_graph(print(g));
  ASSERT_TRUE(again.ok()) << again.status().message();
  EXPECT_EQ(print(*again), print(g));
  FileWeights file;
  std::map<std::string, std::vector<float>, std::less<>> numbers;
  RandomStream random(7, Purpose::test);
  for (const auto& [name, n] : {std::pair{"x", kTokens * kIn}, {"g", kTokens * kOut}, {"w", kOut * kIn}}) {
    auto& list = numbers[name];
    for (int64_t i = 0; i < n; ++i) list.push_back(random.normal() * (name[0] == 'g' ? 1e-4f : 1.0f));
    file[name].resize(4 * list.size());
    std::memcpy(file[name].data(), list.data(), 4 * list.size());
  }
  std::vector<int32_t> all(kTokens);
  for (int32_t i = 0; i < int32_t(kTokens); ++i) all[size_t(i)] = i;
  InterpretInputs inputs;
  inputs.integers["ids"] = all;
  const auto want = interpret(g, inputs, file, {kTokens, 1});
  ASSERT_TRUE(want.ok()) << want.status().message();
  std::vector<std::vector<float>> first;
  for (const Isa isa : {Isa::scalar, detected_isa()})
    for (const uint32_t threads : {1u, 3u}) {
      auto plan = TrainPlan::compile(g, [&](std::string_view name) { return numbers.find(name)->second.data(); },
                                     {uint32_t(kTokens) + 5, threads, isa});
      ASSERT_TRUE(plan.ok()) << plan.status().message();
      Team team(threads);
      const std::pair<std::string_view, std::span<const int32_t>> given[] = {{"ids", all}};
      ASSERT_TRUE((*plan)->run(team, {given, {}}).ok());
      for (size_t o = 0; o < 3; ++o) {
        const std::vector<float> got((*plan)->output(o).begin(), (*plan)->output(o).end());
        if (first.size() <= o) first.push_back(got);
        EXPECT_EQ(0, std::memcmp(got.data(), first[o].data(), 4 * got.size())) << o << " " << name(isa) << threads;
        double off = 0, size = 0;
        for (size_t i = 0; i < got.size(); ++i) {
          off += std::pow(double(got[i]) - double((*want)[o].f[i]), 2), size += std::pow(double(got[i]), 2);
        }
        EXPECT_LE(std::sqrt(off / size), 0x1p-20) << o;  // roundings of sums of 70 in f32
      }
    }
}

TEST_P(ProductsOf, BytesDoNotDependOnThreadsRanksOrInstructionSet) {
  TrialTraining t = trial(GetParam());
  const auto runs = t.elsewhere();
  ASSERT_TRUE(runs.ok()) << runs.status().message();
  for (const auto& [what, same] : runs->same) EXPECT_TRUE(same) << what;
  t.options.shares = 2;
  t.options.precision.products_skip = {"blk.0."};
  EXPECT_NE(t.run(0)->state, runs->state);
}

TEST_P(ProductsOf, LearnsWhatFloatsLearn) {
  TrialTraining t = trial(GetParam());
  ASSERT_TRUE(t.tell_stories(1 << 16).ok());
  t.steps = 60, t.held_out = 16;
  t.options.optimiser.rate = 3e-3;
  const auto rounded = t.run(0);
  ASSERT_TRUE(rounded.ok()) << rounded.status().message();
  t.options.precision.products = nullptr;
  const auto floats = t.run(0);
  EXPECT_NE(rounded->held_out, floats->held_out);
  EXPECT_NEAR(rounded->held_out / floats->held_out, 1, 0.01);
}

TEST_P(ProductsOf, GoesOnFromACheckpointWithTheSameBytes) {
  const TempFolder folder;
  TrialTraining t = trial(GetParam());
  t.options.max_rows = t.rows * t.length;
  const auto file = new_checkpoint(t.model, {});
  ASSERT_TRUE(file.ok());
  const auto config = read_config(*file);
  const auto begin = [&] { return std::move(*TrainStep::create(*file, *config, t.options)); };
  const auto bytes = [](TrainStep& step) {
    std::vector<uint8_t> all;
    for (const StatePart& part : step.state()) all.insert(all.end(), part.bytes.begin(), part.bytes.end());
    return all;
  };
  TrialTraining::Run ignored;
  auto whole = begin();
  ASSERT_TRUE(t.learn(*whole, &ignored).ok());
  const std::string path = folder.path() + "/a.run";
  ASSERT_TRUE(save_run(path, *whole, {whole->steps(), 1, ""}).ok());
  auto other = begin();
  const std::vector<int32_t> tokens = {1, 2, 3}, documents(3, 0);
  const std::vector<float> weights(3, 0.3f);
  ASSERT_TRUE(other->evaluate({tokens, tokens, documents, weights}).ok());  // weights are rounded once already
  const auto state = load_run(path, other.get());
  ASSERT_TRUE(state.ok()) << state.status().message();
  EXPECT_EQ(bytes(*other), bytes(*whole));
  ASSERT_TRUE(whole->evaluate({tokens, tokens, documents, weights}).ok());  // changes nothing
  ASSERT_TRUE(t.learn(*whole, &ignored).ok());
  ASSERT_TRUE(t.learn(*other, &ignored).ok());
  EXPECT_EQ(bytes(*other), bytes(*whole));
}

/// Twenty steps of small models in torch (tools/make_products_goldens.py).
TEST_P(ProductsOf, TwentyStepsAreThoseOfTorch) {
  const auto read = [](const std::string& path) {
    std::ifstream text(VIBEE_SOURCE_DIR "/data/golden/" + path);
    return nlohmann::json::parse(text);
  };
  const nlohmann::json golden = read("train/products.json");
  for (const std::string model : {"llama3", "gpt2"}) {
    const std::string key = model + "." + std::string(GetParam()->name);
    if (!golden.contains(key)) continue;
    const nlohmann::json steps = read("train/" + model + "/steps.json");
    const auto losses = golden.at(key).at("losses").get<std::vector<double>>();
    const auto spread = golden.at(key).at("spread").get<std::vector<double>>();
    const auto file = open_checkpoint(VIBEE_SOURCE_DIR "/data/golden/hf/" + model);
    ASSERT_TRUE(file.ok()) << file.status().message();
    TrainStepOptions options;
    options.max_rows = 16;
    options.isa = detected_isa();
    options.optimiser = {steps.at("rate"), steps.at("betas")[0], steps.at("betas")[1], steps.at("eps"),
                         steps.at("decay")};
    options.precision.products = GetParam();
    auto step = TrainStep::create(*file, *read_config(*file), options);
    ASSERT_TRUE(step.ok()) << step.status().message();
    double most = 0;
    for (size_t t = 0; t < losses.size(); ++t) {
      const nlohmann::json& b = steps.at("batches")[t % 4];
      const std::vector<int32_t> tokens = b.at("tokens"), targets = b.at("targets"), documents = b.at("documents");
      const std::vector<float> weights = b.at("loss_weights");
      const auto loss = (*step)->run({tokens, targets, documents, weights});
      ASSERT_TRUE(loss.ok()) << loss.status().message();
      // What torch's own runs differ by whose rows and gradients differ by as much as float32 may.
      most = std::max(most, spread[t]);
      EXPECT_NEAR(*loss, losses[t], losses[t] * 1e-4 + 3 * most) << key << ", step " << t;
    }
  }
}

TEST(Products, NumbersThatAreNotFiniteEndTheStep) {
  for (const ProductRecipe* recipe : recipes()) {
    TrialTraining t = trial(recipe);
    t.options.max_rows = 8;
    const auto file = new_checkpoint(t.model, {});
    auto step = std::move(*TrainStep::create(*file, *read_config(*file), t.options));
    const std::vector<int32_t> tokens = {1, 2, 3}, documents(3, 0);
    const std::vector<float> weights(3, 3e38f);
    const auto loss = step->run({tokens, tokens, documents, weights});
    EXPECT_FALSE(loss.ok()) << recipe->name;
  }
}

}  // namespace
}  // namespace vibee
