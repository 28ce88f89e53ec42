// SPDX-License-Identifier: Apache-2.0
// Steps whose moments lie in 8 bits and in a file: the same bytes on any threads, ranks and window, and behind a
// checkpoint.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cmath>
#include <csignal>
#include <cstring>

#include "vibee/kit/temp_folder.h"
#include "vibee/kit/trial_training.h"
#include "vibee/train/loop/run_saver.h"

namespace vibee {
namespace {

/// A model some of whose matrices are large enough for 8 bits.
TrialTraining trial_of(RuleId rule, bool narrow) {
  TrialTraining trial;
  trial.model.dim = 64;
  trial.steps = 4;
  trial.options.optimiser.rule = rule;
  trial.options.optimiser.rate = 1e-3;
  trial.options.precision.narrow_moments = narrow;
  return trial;
}
std::vector<uint8_t> state_of(const TrialTraining& trial, uint32_t ranks = 0) {
  auto run = trial.run(ranks);
  VIBEE_CHECK(run.ok(), "{}", run.status().message());
  return std::move(run->state);
}
std::unique_ptr<TrainStep> step_of(const TrialTraining& trial) {
  auto file = new_checkpoint(trial.model, {});
  VIBEE_CHECK(file.ok(), "{}", file.status().message());
  auto config = read_config(*file);
  VIBEE_CHECK(config.ok(), "{}", config.status().message());
  TrainStepOptions options = trial.options;
  options.max_rows = trial.rows * trial.length;
  auto step = TrainStep::create(*file, *config, options);
  VIBEE_CHECK(step.ok(), "{}", step.status().message());
  return std::move(*step);
}
std::vector<uint8_t> learn(const TrialTraining& trial, TrainStep& step) {
  TrialTraining::Run run;
  const Status learnt = trial.learn(step, &run);
  VIBEE_CHECK(learnt.ok(), "{}", learnt.message());
  return run.state;
}
TrainStep::Memory memory_of(const TrialTraining& trial) {
  auto memory = trial.memory();
  VIBEE_CHECK(memory.ok(), "{}", memory.status().message());
  return *memory;
}
/// The most that a weight's moments take.
uint64_t largest(const TrialTraining& trial) {
  TrialTraining tight = trial;
  tight.options.paged.bytes = 64;
  const std::string why = tight.memory().status().message();
  const size_t at = why.find("alone take ");
  VIBEE_CHECK(at != why.npos, "{}", why);
  return std::stoull(why.substr(at + 11));
}

constexpr RuleId kRules[] = {RuleId::adamw, RuleId::sgd, RuleId::lion};

TEST(Moments, InEightBitsHaveTheSameBytesOnAnyThreadsAndRanks) {
  for (const RuleId rule : kRules)
    for (const uint32_t block : {64u, 256u, 2048u}) {
      TrialTraining trial = trial_of(rule, true);
      trial.options.precision.moment_block = block;
      const std::vector<uint8_t> want = state_of(trial);
      for (const uint32_t threads : {2u, 3u}) {
        trial.options.threads = threads;
        EXPECT_EQ(state_of(trial), want) << info(rule).name << " " << threads;
      }
      trial.options.threads = 1;
      trial.options.shares = 2;
      const std::vector<uint8_t> shared = state_of(trial);
      EXPECT_EQ(state_of(trial, 2), shared) << info(rule).name;
    }
}

TEST(Moments, InEightBitsTakeAQuarter) {
  const TrialTraining wide = trial_of(RuleId::adamw, false), narrow = trial_of(RuleId::adamw, true);
  uint64_t stays = 0, turns = 0;
  const auto step = step_of(narrow);
  for (const TrainStep::Weight& w : step->weights()) {
    (w.narrow_moments ? turns : stays) += w.count;
    EXPECT_EQ(w.narrow_moments, w.count >= 4096 && w.name != "token_embd.weight") << w.name;
  }
  ASSERT_GT(turns, 4 * stays);
  EXPECT_EQ(memory_of(wide).moments, 8 * (stays + turns));
  const uint64_t codes = memory_of(narrow).moments - 8 * stays;
  EXPECT_GE(double(codes), 2 * (1 + 4.0 / 256) * double(turns));
  EXPECT_LE(double(codes), 2.04 * double(turns));  // scales are rounded up to 64 bytes
}

TEST(Moments, InEightBitsLearnAsInFloats) {
  for (const RuleId rule : kRules) {
    double held_out[2];
    for (const bool narrow : {false, true}) {
      TrialTraining trial = trial_of(rule, narrow);
      VIBEE_CHECK(trial.tell_stories(1 << 16).ok(), "stories");
      trial.steps = 60;
      trial.held_out = 8;
      trial.options.optimiser.rate = rule == RuleId::sgd ? 0.1 : rule == RuleId::lion ? 3e-4 : 2e-3;
      auto run = trial.run(0);
      ASSERT_TRUE(run.ok()) << run.status().message();
      held_out[narrow] = run->held_out;
    }
    EXPECT_LT(held_out[1], 4.5) << info(rule).name;
    EXPECT_NEAR(held_out[1] / held_out[0], 1, 0.02) << info(rule).name;
  }
}

TEST(Moments, PagedHaveTheBytesOfThoseInMemory) {
  const TempFolder folder;
  for (const RuleId rule : kRules)
    for (const bool narrow : {false, true}) {
      TrialTraining trial = trial_of(rule, narrow);
      const uint64_t all = memory_of(trial).moments, one = largest(trial);
      const std::vector<uint8_t> want = state_of(trial);
      for (const uint64_t window : {2 * one, one, 3 * one, all, all - 1}) {
        trial.options.paged = {window, folder.path()};
        trial.options.threads = window == one ? 2 : 1;
        const TrainStep::Memory memory = memory_of(trial);
        EXPECT_EQ(memory.moments_file, window < all ? all : 0);
        EXPECT_LE(memory.moments, window);
        EXPECT_EQ(state_of(trial), want) << info(rule).name << " " << window;
      }
    }
}

TEST(Moments, GoOnBehindACheckpointPagedOrNot) {
  const TempFolder folder;
  for (const bool narrow : {false, true}) {
    TrialTraining trial = trial_of(RuleId::adamw, narrow), paged = trial;
    paged.options.paged = {2 * largest(trial), folder.path()};
    const std::string path = folder.path() + "/x.run";
    for (const bool first : {false, true}) {  // which of both is paged
      const auto begins = step_of(first ? paged : trial), goes_on = step_of(first ? trial : paged);
      learn(trial, *begins);
      RunSaver saver(true);
      ASSERT_TRUE(saver.save(path, *begins, {begins->steps(), 1, "line"}).ok());
      ASSERT_TRUE(saver.wait().ok());
      auto state = load_run(path, goes_on.get());
      ASSERT_TRUE(state.ok()) << state.status().message();
      EXPECT_EQ(learn(trial, *goes_on), learn(trial, *begins));
    }
    // Another form of moments is told by its name.
    const auto other = step_of(trial_of(RuleId::adamw, !narrow));
    const auto refused = load_run(path, other.get());
    ASSERT_FALSE(refused.ok());
    EXPECT_NE(
        refused.status().message().find(narrow ? "\"first moments in 8 bits, blocks of 256\"" : "\"first moments\""),
        std::string::npos)
        << refused.status().message();
  }
}

TEST(Moments, RefuseScalesThatAreNoNumbers) {
  for (const float bad : {NAN, -1.0f, INFINITY}) {
    const TrialTraining trial = trial_of(RuleId::adamw, true);
    const auto step = step_of(trial);
    learn(trial, *step);
    EXPECT_TRUE(step->resume(4).ok());
    for (const StatePart& part : step->state()) {
      if (!part.name.starts_with("second moments")) continue;
      for (const TrainStep::Weight& w : step->weights())
        if (w.narrow_moments) std::memcpy(part.bytes.data() + w.moment_at + w.count, &bad, 4);
    }
    const Status refused = step->resume(4);
    ASSERT_FALSE(refused.ok()) << bad;
    EXPECT_EQ(refused.code(), Code::corrupt);
    EXPECT_NE(refused.message().find("second moments"), std::string::npos) << refused.message();
  }
}

TEST(Moments, RefuseAWindowBelowTheLargestWeight) {
  TrialTraining trial = trial_of(RuleId::adamw, false);
  trial.options.paged = {4096, "."};
  const auto memory = trial.memory();
  ASSERT_FALSE(memory.ok());
  EXPECT_EQ(memory.status().code(), Code::invalid);
  EXPECT_NE(memory.status().message().find("key 'optimiser.paged': 4096 bytes; the moments of \"blk.0.ffn"),
            std::string::npos)
      << memory.status().message();
  trial.options.paged = {2 * largest(trial), "/nowhere/at/all"};
  const auto run = trial.run(0);
  ASSERT_FALSE(run.ok());
  EXPECT_EQ(run.status().code(), Code::io);
}

/// A disk that takes no more ends the step with an error; the checkpoint before it is whole.
TEST(Moments, LeaveTheLastCheckpointWhereTheDiskFails) {
  const TempFolder folder;
  TrialTraining trial = trial_of(RuleId::adamw, true);
  trial.options.paged = {2 * largest(trial), folder.path()};
  const std::string path = folder.path() + "/x.run";
  const auto step = step_of(trial);
  const std::vector<uint8_t> before = learn(trial, *step);
  ASSERT_TRUE(save_run(path, *step, {step->steps(), 1, "line"}).ok());
  rlimit most;
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &most), 0);
  const rlimit none{1, most.rlim_max};
  const auto signal = std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &none), 0);
  TrialTraining::Run run;
  const Status failed = trial.learn(*step, &run);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &most), 0);
  std::signal(SIGXFSZ, signal);
  ASSERT_FALSE(failed.ok());
  EXPECT_EQ(failed.code(), Code::io);
  EXPECT_NE(failed.message().find("a scratch file cannot be written"), std::string::npos) << failed.message();
  const auto goes_on = step_of(trial);
  ASSERT_TRUE(load_run(path, goes_on.get()).ok());
  trial.steps = 0;
  EXPECT_EQ(learn(trial, *goes_on), before);
}

TEST(Moments, RefuseABlockThatIsNone) {
  for (const uint32_t block : {0u, 32u, 96u, 4096u}) {
    TrialTraining trial = trial_of(RuleId::adamw, true);
    trial.options.precision.moment_block = block;
    EXPECT_NE(check(trial.options.precision).message().find("optimiser.block"), std::string::npos) << block;
  }
}

}  // namespace
}  // namespace vibee
