// SPDX-License-Identifier: Apache-2.0
// Twenty steps of a Llama and a GPT-2 against torch (data/golden/train), and what a step refuses.
#include "vibee/train/loop/train_step.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "vibee/dist/transport/local.h"
#include "vibee/model/arch/arch.h"
#include "vibee/model/layer/decoder.h"

namespace vibee {
namespace {

const std::string kGoldens = VIBEE_SOURCE_DIR "/data/golden/";

struct Steps {
  nlohmann::json golden;
  struct Batch {
    std::vector<int32_t> tokens, targets, documents;
    std::vector<float> weights;
    operator TrainBatch() const { return {tokens, targets, documents, weights}; }
  };
  std::vector<Batch> batches;
  TrainStepOptions options;

  explicit Steps(const std::string& name) {
    std::ifstream text(kGoldens + "train/" + name + "/steps.json");
    golden = nlohmann::json::parse(text);
    for (const auto& b : golden.at("batches"))
      batches.push_back({b.at("tokens"), b.at("targets"), b.at("documents"), b.at("loss_weights")});
    options.max_rows = 16;
    options.threads = 2;
    options.isa = detected_isa();
    options.optimiser = {golden.at("rate"), golden.at("betas")[0], golden.at("betas")[1], golden.at("eps"),
                         golden.at("decay")};
  }
};

Result<std::unique_ptr<TrainStep>> start(const std::string& directory, const TrainStepOptions& options) {
  VIBEE_ASSIGN(const Checkpoint file, open_checkpoint(kGoldens + directory));
  VIBEE_ASSIGN(const ModelConfig config, read_config(file));
  return TrainStep::create(file, config, options);
}

class TrainStepOf : public testing::TestWithParam<std::string> {};

TEST_P(TrainStepOf, TwentyStepsAreThoseOfTorch) {
  const Steps steps(GetParam());
  auto mine = start("hf/" + GetParam(), steps.options), end = start("train/" + GetParam(), steps.options),
       begin = start("hf/" + GetParam(), steps.options);
  ASSERT_TRUE(mine.ok() && end.ok() && begin.ok()) << mine.status().message() << end.status().message();
  const auto losses = steps.golden.at("losses").get<std::vector<double>>();
  for (size_t t = 0; t < losses.size(); ++t) {
    auto loss = (*mine)->run(steps.batches[t % 4]);
    ASSERT_TRUE(loss.ok()) << loss.status().message();
    EXPECT_NEAR(*loss / losses[t], 1, 1e-5) << "step " << t;
  }
  EXPECT_EQ((*mine)->steps(), losses.size());
  ASSERT_EQ((*mine)->weights().size(), (*end)->weights().size());
  double moved = 0;
  for (size_t i = 0; i < (*mine)->weights().size(); ++i) {
    const auto& weight = (*mine)->weights()[i];
    const auto got = (*mine)->values(weight), want = (*end)->values((*end)->weights()[i]),
               old = (*begin)->values((*begin)->weights()[i]);
    ASSERT_EQ(got.size(), want.size());
    for (size_t e = 0; e < got.size(); ++e) {
      ASSERT_NEAR(got[e], want[e], 1e-4) << weight.name << " at " << e;
      moved = std::max(moved, std::fabs(double(got[e]) - old[e]));
      ASSERT_TRUE(weight.trained || got[e] == old[e]) << weight.name;
    }
  }
  EXPECT_GT(moved, 0.01);
}

/// What is computed again is what was kept: the same bytes in less memory.
TEST_P(TrainStepOf, RecomputationKeepsTheBytes) {
  Steps steps(GetParam());
  std::vector<uint8_t> first;
  uint64_t arena = UINT64_MAX;
  for (const RecomputeName& level : recompute_levels()) {
    steps.options.recompute = level.level;
    auto file = open_checkpoint(kGoldens + "hf/" + GetParam());
    ASSERT_TRUE(file.ok());
    auto config = read_config(*file);
    ASSERT_TRUE(config.ok());
    // At sizes at which the values of layers are most of the arena.
    steps.options.max_rows = 512;
    const auto memory = TrainStep::memory(*file, *config, steps.options);
    ASSERT_TRUE(memory.ok()) << memory.status().message();
    if (level.level != Recompute::sqrt) {  // which two layers gain nothing by
      EXPECT_LT(memory->arena, arena) << level.name;
      arena = memory->arena;
    }
    auto step = start("hf/" + GetParam(), steps.options);
    ASSERT_TRUE(step.ok()) << step.status().message();
    for (size_t t = 0; t < 4; ++t) ASSERT_TRUE((*step)->run(steps.batches[t]).ok());
    std::vector<uint8_t> state;
    for (const StatePart& part : (*step)->state()) state.insert(state.end(), part.bytes.begin(), part.bytes.end());
    if (first.empty()) first = state;
    EXPECT_EQ(state, first) << level.name;
  }
}

/// Who gives up the same bytes for a library's speed gets the same losses.
TEST_P(TrainStepOf, LossesByALibraryAreThoseOfTorch) {
  auto choice = GemmChoice::open(GemmPolicy::vendor);
  if (!choice.ok()) GTEST_SKIP() << choice.status().message();
  Steps steps(GetParam());
  auto file = open_checkpoint(kGoldens + "hf/" + GetParam());
  ASSERT_TRUE(file.ok());
  auto config = read_config(*file);
  ASSERT_TRUE(config.ok());
  auto graph = TrainStep::graph(*file, *config, steps.options);
  ASSERT_TRUE(graph.ok()) << graph.status().message();
  Team team(steps.options.threads);
  auto records = Records::open("", "cpu");
  ASSERT_TRUE(
      choice->choose(TrainPlan::products(*graph, plan_options(steps.options)), team, steps.options.isa, &*records)
          .ok());
  EXPECT_GE(choice->rows().size(), 6u);
  steps.options.products = &*choice;
  auto step = start("hf/" + GetParam(), steps.options);
  ASSERT_TRUE(step.ok()) << step.status().message();
  const auto losses = steps.golden.at("losses").get<std::vector<double>>();
  for (size_t t = 0; t < losses.size(); ++t) {
    auto loss = (*step)->run(steps.batches[t % 4]);
    ASSERT_TRUE(loss.ok()) << loss.status().message();
    EXPECT_NEAR(*loss / losses[t], 1, 1e-5) << "step " << t;
  }
}

/// Bytes of weights and losses do not depend on threads or instruction set.
TEST_P(TrainStepOf, TheSameBytesWhoeverComputes) {
  const Steps steps(GetParam());
  std::vector<float> first;
  for (const auto& [isa, threads] : {std::pair{Isa::scalar, 1u}, {detected_isa(), 1u}, {detected_isa(), 3u}}) {
    TrainStepOptions options = steps.options;
    options.isa = isa;
    options.threads = threads;
    auto step = start("hf/" + GetParam(), options);
    ASSERT_TRUE(step.ok());
    std::vector<float> all;
    for (int t = 0; t < 3; ++t) {
      auto loss = (*step)->run(steps.batches[size_t(t)]);
      ASSERT_TRUE(loss.ok());
      all.push_back(*loss);
    }
    for (const auto& weight : (*step)->weights()) {
      const auto values = (*step)->values(weight);
      all.insert(all.end(), values.begin(), values.end());
    }
    if (first.empty()) first = all;
    ASSERT_EQ(all.size(), first.size());
    EXPECT_EQ(0, std::memcmp(all.data(), first.data(), all.size() * 4));
  }
}

INSTANTIATE_TEST_SUITE_P(Models, TrainStepOf, testing::Values("llama3", "gpt2"));

TEST(TrainStep, ChangesNothingWhereItRefuses) {
  const Steps steps("gpt2");
  auto step = start("hf/gpt2", steps.options);
  ASSERT_TRUE(step.ok());
  const auto bytes = [&] {
    std::vector<float> all;
    for (const auto& weight : (*step)->weights()) {
      const auto values = (*step)->values(weight);
      all.insert(all.end(), values.begin(), values.end());
    }
    return all;
  };
  const std::vector<float> before = bytes();
  const auto refused = [&](const Steps::Batch& batch) { return (*step)->run(batch).status().message(); };
  Steps::Batch batch = steps.batches[0];
  batch.weights[0] = INFINITY;
  batch.targets[0] = 5;
  EXPECT_NE(refused(batch).find("is not finite; the first is of token_embd.weight"), std::string::npos)
      << refused(batch);
  batch = steps.batches[0];
  batch.tokens[3] = 60;
  EXPECT_EQ(refused(batch), "input 'tokens': 60 in row 3 is not in 0 to 59");
  batch = steps.batches[0];
  batch.documents.push_back(0);
  EXPECT_NE(refused(batch).find("16 rows at most"), std::string::npos);
  batch = steps.batches[0];
  batch.tokens.push_back(0), batch.documents.push_back(0);
  EXPECT_NE(refused(batch).find("16 rows at most"), std::string::npos);
  EXPECT_EQ(before, bytes());
  EXPECT_EQ((*step)->steps(), 0u);
  EXPECT_TRUE((*step)->run(steps.batches[0]).ok());
}

/// The first moments behind one step are the clipped gradients, but for a factor.
std::vector<float> moments(TrainStep& step) {
  const std::span<uint8_t> bytes = step.state()[1].bytes;
  std::vector<float> out(bytes.size() / 4);
  std::memcpy(out.data(), bytes.data(), bytes.size());
  return out;
}

TEST(TrainStep, PartsAddUpToTheWholeBatch) {
  Steps steps("llama3");
  Steps::Batch parts[2] = {steps.batches[0], steps.batches[1]}, whole;
  double targets = 0;
  for (const Steps::Batch& part : parts)
    for (const int32_t target : part.targets) targets += target >= 0;
  for (Steps::Batch& part : parts) {
    std::fill(part.weights.begin(), part.weights.end(), float(1 / targets));
    for (const int32_t document : part.documents) whole.documents.push_back(document + int32_t(whole.tokens.size()));
    whole.tokens.insert(whole.tokens.end(), part.tokens.begin(), part.tokens.end());
    whole.targets.insert(whole.targets.end(), part.targets.begin(), part.targets.end());
    whole.weights.insert(whole.weights.end(), part.weights.begin(), part.weights.end());
  }
  steps.options.max_rows = 32;
  auto at_once = start("hf/llama3", steps.options);
  steps.options.accumulate = true;
  auto in_parts = start("hf/llama3", steps.options);
  ASSERT_TRUE(at_once.ok() && in_parts.ok());
  ASSERT_TRUE((*at_once)->add(whole).ok());
  for (const Steps::Batch& part : parts) ASSERT_TRUE((*in_parts)->add(part, &part == &parts[1]).ok());
  auto a = (*at_once)->update(), b = (*in_parts)->update();
  ASSERT_TRUE(a.ok() && b.ok());
  EXPECT_NEAR(a->loss, b->loss, 1e-6);
  EXPECT_NEAR(a->norm / b->norm, 1, 1e-6);
  const std::vector<float> want = moments(**at_once), got = moments(**in_parts);
  float largest = 0, off = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    largest = std::max(largest, std::fabs(want[i]));
    off = std::max(off, std::fabs(want[i] - got[i]));
  }
  EXPECT_GT(largest, 0);
  EXPECT_LT(off, 1e-5 * largest);
}

/// Four shares on 1, 2, 3 and 4 ranks, in buckets of several sizes, sent early or late: the same bytes.
TEST(TrainStep, RanksHaveTheBytesOfOne) {
  Steps steps("llama3");
  steps.options.threads = 1;
  steps.options.accumulate = true;
  steps.options.clip = 0.5;
  steps.options.shares = 4;
  const auto bytes = [](TrainStep& step) {
    std::vector<uint8_t> all;
    for (const StatePart& part : step.state()) all.insert(all.end(), part.bytes.begin(), part.bytes.end());
    return all;
  };
  const auto run = [&](TrainStep& step) {
    for (int t = 0; t < 3; ++t) {
      for (uint32_t share = step.shares().first; share < step.shares().end; ++share)
        for (const size_t part : {0, 1}) ASSERT_TRUE(step.add(steps.batches[(share + t + part) % 4], part == 1).ok());
      auto done = step.update();
      ASSERT_TRUE(done.ok()) << done.status().message();
    }
  };
  auto one = start("hf/llama3", steps.options);
  ASSERT_TRUE(one.ok()) << one.status().message();
  run(**one);
  const std::vector<uint8_t> want = bytes(**one);
  for (const uint32_t ranks : {1, 2, 3, 4})
    for (const uint64_t bucket : {uint64_t(1), uint64_t(20000), UINT64_MAX})
      for (const bool overlap : {true, false}) {
        if (!overlap && bucket != 20000) continue;
        auto ends = local_network(ranks);
        std::vector<std::thread> threads;
        for (uint32_t r = 0; r < ranks; ++r)
          threads.emplace_back([&, r] {
            CommThread comm(std::move(ends[r]));
            TrainStepOptions options = steps.options;
            options.ranks = &comm;
            options.buckets = {4096, bucket};
            options.overlap = overlap;
            options.threads = 1 + r % 2;
            auto step = start("hf/llama3", options);
            ASSERT_TRUE(step.ok()) << step.status().message();
            run(**step);
            EXPECT_TRUE(bytes(**step) == want) << r << " of " << ranks << ", buckets of " << bucket;
            EXPECT_EQ((*step)->trace().compute.size(), 2 * ((*step)->shares().end - (*step)->shares().first));
            const size_t buckets = (*step)->trace().communicate.size();
            EXPECT_TRUE(bucket == 1 ? buckets > 10 : bucket < UINT64_MAX || buckets <= 2) << buckets;
          });
        for (std::thread& thread : threads) thread.join();
      }
  steps.options.shares = 1;
  CommThread comm(std::move(local_network(2)[0]));
  steps.options.ranks = &comm;
  EXPECT_NE(start("hf/llama3", steps.options).status().message().find("1 shares for 2 ranks"), std::string::npos);
}

TEST(TrainStep, ClipsTheNormOfAllGradients) {
  Steps steps("gpt2");
  auto free = start("hf/gpt2", steps.options);
  ASSERT_TRUE(free.ok() && (*free)->add(steps.batches[0]).ok());
  auto before = (*free)->update();
  ASSERT_TRUE(before.ok());
  const std::vector<float> whole = moments(**free);
  for (const double part : {0.5, 2.0}) {
    steps.options.clip = part * before->norm;
    auto step = start("hf/gpt2", steps.options);
    ASSERT_TRUE(step.ok() && (*step)->add(steps.batches[0]).ok());
    auto after = (*step)->update();
    ASSERT_TRUE(after.ok());
    EXPECT_DOUBLE_EQ(after->norm, before->norm);
    const std::vector<float> clipped = moments(**step);
    for (size_t i = 0; i < whole.size(); ++i) ASSERT_FLOAT_EQ(clipped[i], float(std::min(1.0, part) * whole[i])) << i;
  }
}

TEST(TrainStep, EvaluatesWithoutChangingAnything) {
  const Steps steps("gpt2");
  auto step = start("hf/gpt2", steps.options);
  ASSERT_TRUE(step.ok());
  const auto bytes = [&] {
    std::vector<uint8_t> all;
    for (const StatePart& part : (*step)->state()) all.insert(all.end(), part.bytes.begin(), part.bytes.end());
    return all;
  };
  const std::vector<uint8_t> before = bytes();
  auto loss = (*step)->evaluate(steps.batches[0]);
  ASSERT_TRUE(loss.ok());
  EXPECT_EQ(before, bytes());
  auto same = (*step)->run(steps.batches[0]);
  ASSERT_TRUE(same.ok());
  EXPECT_EQ(*loss, *same);
  EXPECT_NE(before, bytes());
}

TEST(TrainStep, StatesItsMemory) {
  auto file = open_checkpoint(kGoldens + "hf/gpt2");
  ASSERT_TRUE(file.ok());
  auto config = read_config(*file);
  ASSERT_TRUE(config.ok());
  TrainStepOptions options;
  options.max_rows = 100;
  auto memory = TrainStep::memory(*file, *config, options);
  ASSERT_TRUE(memory.ok());
  EXPECT_EQ(memory->moments, 2 * memory->weights);
  EXPECT_GT(memory->arena, memory->weights);  // gradients are values of the step
  options.max_rows = kMostTrainRows;
  auto large = TrainStep::memory(*file, *config, options);
  ASSERT_TRUE(large.ok());
  if (large->sum() > available_memory()) {
    EXPECT_NE(TrainStep::create(*file, *config, options).status().message().find("MiB are available"),
              std::string::npos);
  }
  options.max_rows = kMostTrainRows + 1;
  EXPECT_NE(TrainStep::memory(*file, *config, options).status().message().find("has 1 to 1048576 rows"),
            std::string::npos);
}

}  // namespace
}  // namespace vibee
