// SPDX-License-Identifier: Apache-2.0
// Forecasts of training against what TrainStep states, and on a machine of flat rates.
#include "vibee/app/jobs/train_forecast.h"

#include <gtest/gtest.h>

#include "vibee/app/jobs/train_setup.h"
#include "vibee/kit/flat_rates.h"
#include "vibee/kit/temp_folder.h"
#include "vibee/kit/tiny_model.h"

namespace vibee {
namespace {

class Forecast : public testing::Test {
 protected:
  Forecast() {
    TinyModel tiny;
    tiny.vocab = 300;
    tiny.tokenizer = true;
    model_ = std::make_unique<TinyModelFile>(tiny);
  }
  Result<TrainConfig> config(const std::vector<std::string>& set = {}) const {
    const std::string text = fmt::format(
        "[model]\ntokenizer = \"{}\"\ndim = 32\nlayers = 2\nheads = 2\ncontext = 64\n[data]\nlength = 32\n"
        "[train]\nsteps = 100\nbatch = 8\nthreads = 2\n",
        model_->path());
    return parse_train_config(text, "train.toml", set, ConfigUse::plan);
  }
  TrainForecast forecast(const std::vector<std::string>& set = {}, TrainRanks ranks = {},
                         uint64_t memory = uint64_t(1) << 33, double rate = 1e-9) const {
    const auto c = config(set);
    EXPECT_TRUE(c.ok()) << c.status().message();
    auto f = forecast_training(*c, ranks, {2, memory}, flat_rates(rate));
    EXPECT_TRUE(f.ok()) << f.status().message();
    return *f;
  }
  TrainStep::Memory stated(const std::vector<std::string>& set) const {
    const auto c = config(set);
    auto model = begin_model(*c);
    auto options = step_options(*c, 1);
    EXPECT_TRUE(model.ok() && options.ok());
    for (const RecomputeName& level : recompute_levels())
      if (level.name == c->recompute) options->recompute = level.level;
    const auto memory = TrainStep::memory(model->file, model->config, *options);
    EXPECT_TRUE(memory.ok());
    return *memory;
  }
  std::unique_ptr<TinyModelFile> model_;
};

TEST_F(Forecast, NeedsNeitherDataNorAFolder) {
  const TrainForecast f = forecast();
  EXPECT_NE(f.data.find("one document"), std::string::npos);
  EXPECT_EQ(f.tokens, 256u);
  EXPECT_EQ(f.part, 8u);
  EXPECT_TRUE(f.fits);
  const TrainForecast missing = forecast({"data.stores=/nowhere/a.tokens"});
  EXPECT_NE(missing.data.find("/nowhere/a.tokens"), std::string::npos);
  EXPECT_EQ(missing.step_seconds, f.step_seconds);
}

TEST_F(Forecast, StatesTheMemoryOfTheStepToTheByte) {
  for (const std::vector<std::string>& set :
       {std::vector<std::string>{}, {"train.part=2"}, {"train.recompute=full"}, {"model.architecture=gpt2"}}) {
    const TrainForecast f = forecast(set);
    const TrainStep::Memory m = stated(set);
    EXPECT_EQ(f.memory.weights, m.weights);
    EXPECT_EQ(f.memory.frozen, m.frozen);
    EXPECT_EQ(f.memory.moments, m.moments);
    EXPECT_EQ(f.memory.gradients, m.gradients);
    EXPECT_EQ(f.memory.arena, m.arena);
    EXPECT_EQ(f.memory.sum() - f.memory.program, m.sum());
  }
}

TEST_F(Forecast, IsAFunctionOfTheRates) {
  const TrainForecast a = forecast(), b = forecast(), slow = forecast({}, {}, uint64_t(1) << 33, 2e-9);
  EXPECT_EQ(a.step.seconds, b.step.seconds);
  EXPECT_EQ(a.run_seconds, b.run_seconds);
  EXPECT_NEAR(slow.step_seconds, 2 * a.step_seconds, 1e-12);
  EXPECT_NEAR(a.step.sum(), a.step_seconds, 1e-15);
  EXPECT_GT(a.peak_share(), 0.5);  // scores of attention count twice: a product of them is four operations
  EXPECT_LT(a.peak_share(), 2);
}

TEST_F(Forecast, PartsAndRecomputationCostTimeAndSaveMemory) {
  const TrainForecast whole = forecast(), parts = forecast({"train.part=2"}),
                      again = forecast({"train.recompute=full"});
  EXPECT_GT(parts.step[Reason::sums], 0);
  EXPECT_EQ(whole.step[Reason::sums], 0);
  EXPECT_NEAR(parts.step[Reason::products], whole.step[Reason::products], 1e-12);
  EXPECT_NEAR(parts.flops, whole.flops, 1e-6 * whole.flops + 1e6);
  EXPECT_LT(parts.memory.arena, whole.memory.arena);
  EXPECT_GT(again.step[Reason::products], whole.step[Reason::products]);
  EXPECT_LT(again.memory.arena, whole.memory.arena);
}

TEST_F(Forecast, RanksHaveTheirOwnStateAndShareTheMachine) {
  const TrainForecast one = forecast(), two = forecast({"train.threads=1"}, {2, true}),
                      apart = forecast({"train.threads=1"}, {2, false});
  EXPECT_EQ(two.memory.weights, 2 * one.memory.weights);
  EXPECT_EQ(apart.memory.weights, one.memory.weights);
  EXPECT_GT(two.memory.exchange, 0u);
  EXPECT_GT(two.step[Reason::communication], 0);
  EXPECT_NEAR(two.step[Reason::products], one.step[Reason::products], 1e-12);  // half the rows, half the machine
  EXPECT_NEAR(two.step[Reason::optimiser], 2 * one.step[Reason::optimiser], 1e-12);
  const TrainForecast slow = forecast({"train.threads=1", "parallel.link_mb=0.1"}, {2, true});
  EXPECT_GT(slow.step[Reason::communication], two.step[Reason::communication]);
}

TEST_F(Forecast, SaysWhatWouldFit) {
  const uint64_t little = stated({"train.part=2"}).sum();
  const TrainForecast f = forecast({"train.recompute=none"}, {}, little);
  EXPECT_FALSE(f.fits);
  ASSERT_FALSE(f.settings.empty());
  for (const FittingPart& s : f.settings) {
    EXPECT_LE(s.bytes, little);
    const auto bytes = [&](uint32_t part) {
      return stated({"train.recompute=" + s.recompute, fmt::format("train.part={}", part), "train.batch=1000"}).sum();
    };
    EXPECT_LE(bytes(s.part), little);
    EXPECT_GT(bytes(s.part + 1), little);
  }
  EXPECT_EQ(f.settings.front().recompute, "none");
  EXPECT_EQ(f.settings.back().recompute, "sqrt");
  const TrainForecast none = forecast({}, {}, 1000);
  EXPECT_FALSE(none.fits);
  EXPECT_TRUE(none.settings.empty());
  EXPECT_NE(forecast_text(none).find("does not fit"), std::string::npos);
}

TEST_F(Forecast, MomentsInEightBitsAndOnTheDisk) {
  const TrainForecast wide = forecast({"model.dim=128"}),
                      narrow = forecast({"model.dim=128", "optimiser.moments=8bit"}),
                      paged = forecast({"model.dim=128", "optimiser.moments=8bit", "optimiser.paged=400000"});
  EXPECT_LT(narrow.memory.moments, wide.memory.moments / 2);
  EXPECT_LT(narrow.bytes, wide.bytes);
  EXPECT_EQ(narrow.disk, 0u);
  EXPECT_EQ(paged.disk, narrow.memory.moments);
  EXPECT_LE(paged.memory.moments, 400000u);
  EXPECT_NE(forecast_text(paged).find("moments that are paged"), std::string::npos);
}

TEST_F(Forecast, AnAdapterTrainsLittle) {
  const TrainForecast f = forecast({"model.tokenizer=", "model.from=" + model_->path(), "lora.rank=2"});
  EXPECT_GT(f.frozen, 0u);
  EXPECT_LT(f.trained, f.frozen);
  EXPECT_EQ(f.memory.moments, 2 * f.memory.weights);
  const TrainForecast whole = forecast({"model.tokenizer=", "model.from=" + model_->path()});
  EXPECT_LT(f.step[Reason::products], whole.step[Reason::products]);
}

TEST_F(Forecast, RefusesWhatTrainingRefuses) {
  EXPECT_NE(config({"train.step=3"}).status().message().find("train.steps"), std::string::npos);
  EXPECT_FALSE(config({"train.recompute=most"}).ok());
  const auto c = config({"parallel.shares=1"});
  ASSERT_TRUE(c.ok());
  EXPECT_FALSE(forecast_training(*c, {2, true}, {2, 1 << 30}, flat_rates(1e-9)).ok());
  auto no_model = *config();
  no_model.tokenizer = "/nowhere";
  EXPECT_FALSE(forecast_training(no_model, {}, {2, 1 << 30}, flat_rates(1e-9)).ok());
}

TEST_F(Forecast, PrintsEveryReason) {
  const TrainForecast f = forecast({"train.part=2"});
  const std::string text = forecast_text(f), json = forecast_json(f);
  for (const char* word : {"products", "attention", "loss", "elementwise", "sums", "optimiser", "moments", "arena"}) {
    EXPECT_NE(text.find(word), std::string::npos) << word;
    EXPECT_NE(json.find(fmt::format("\"{}\"", word)), std::string::npos) << word;
  }
}

}  // namespace
}  // namespace vibee
