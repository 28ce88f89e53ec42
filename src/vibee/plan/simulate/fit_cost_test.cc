// SPDX-License-Identifier: Apache-2.0
// Costs are found again in the log of a simulated server that was made with them.
#include "vibee/plan/simulate/fit_cost.h"

#include <gtest/gtest.h>

#include "vibee/plan/simulate/serve_sim.h"

namespace vibee {
namespace {

TEST(LeastSquares, FindsWhatIsThereAndLeavesOutWhatIsFarOff) {
  std::vector<std::vector<double>> rows;
  for (int i = 0; i < 60; ++i) {
    const double a = 1 + i % 7, b = i % 4;
    rows.push_back({a, b, i % 3 == 0 ? 1.0 : 0.0, 2 * a + 0.5 * b});  // the third column says nothing
  }
  rows[10].back() = 500;
  const std::vector<double> x = fit_least_squares(rows);
  EXPECT_NEAR(x[0], 2, 1e-9);
  EXPECT_NEAR(x[1], 0.5, 1e-9);
  EXPECT_NEAR(x[2], 0, 1e-9);
}

TEST(LeastSquares, NoCoefficientIsNegative) {
  std::vector<std::vector<double>> rows;
  for (int i = 0; i < 20; ++i) rows.push_back({1, double(i), 10 - 0.1 * i});
  const std::vector<double> x = fit_least_squares(rows);
  EXPECT_GE(x[0], 0);
  EXPECT_EQ(x[1], 0);
  EXPECT_TRUE(fit_least_squares({}).empty());
  const std::vector<double> same = fit_least_squares(std::vector<std::vector<double>>(5, {1, 1, 4}));
  EXPECT_NEAR(same[0] + same[1], 4, 1e-9);  // columns that are alike share what they explain
}

TEST(FitServeCost, FindsTheCostsOfAServer) {
  ServeSimConfig c;
  c.session.context = 512;
  c.session.sequences = c.session.max_logits = 16;
  c.session.max_rows = 64;
  c.session.pages = 400;
  c.prefix = "off";
  c.cost.step = {{{1, 0.004}, {16, 0.010}, {64, 0.040}}, {{1, 0}, {16, 0.003}}, 1e-7, 2e-7};
  c.cost.loop = {1e-4, 3e-5};
  c.cost.ask = {1e-3, 1e-6};
  c.cost.answer = {1e-4, 1e-5};
  c.cost.ask_delays = {8e-4, 2e-6};
  c.cost.event_delays = 5e-5;
  c.token_of = [](uint64_t, size_t position) { return int32_t(position); };
  std::string text;
  ScheduleLog log([&](std::string_view line) { (text += line) += '\n'; });
  c.engine.log = &log;
  const auto sim = ServeSim::create(c);
  ASSERT_TRUE(sim.ok());
  RandomStream random(1, Purpose::test);
  double at = 0;
  for (int i = 0; i < 150; ++i) {
    at += 0.15 * double(random.uniform());
    GenerateRequest r;
    r.prompt.assign(10 + random.below(150), i);
    r.max_tokens = 5 + random.below(40);
    (*sim)->at(at, [&sim, r] { (*sim)->send(r, {[](const TokenEvent&) {}, {}}); });
  }
  ASSERT_TRUE((*sim)->run().ok());
  std::vector<ReplayedStep> steps;
  const auto replayed = replay_schedule(text, "log", [&](const ReplayedStep& s) { steps.push_back(s); });
  ASSERT_TRUE(replayed.ok()) << replayed.status().message();
  ASSERT_FALSE(replayed->difference);
  const auto cost = fit_serve_cost(c.cost.step, steps);
  ASSERT_TRUE(cost.ok()) << cost.status().message();
  EXPECT_NEAR(cost->event_delays, c.cost.event_delays, 1e-5);
  EXPECT_NEAR(cost->loop.base, c.cost.loop.base, 1e-6);
  EXPECT_NEAR(cost->loop.each, c.cost.loop.each, 1e-7);
  EXPECT_NEAR(cost->ask_delays.of(80), c.cost.ask_delays.of(80), 5e-4);
  EXPECT_NEAR(cost->spread[cost->spread.size() / 2], 1, 0.01);
  EXPECT_FALSE(fit_serve_cost(c.cost.step, std::span(steps).first(10)).ok());
}

}  // namespace
}  // namespace vibee
