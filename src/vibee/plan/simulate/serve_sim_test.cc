// SPDX-License-Identifier: Apache-2.0
// The simulated server with costs made by hand, so that every time can be reckoned on paper; then random streams, over
// which the laws of the engine hold.
#include "vibee/plan/simulate/serve_sim.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "vibee/plan/simulate/replay.h"

namespace vibee {
namespace {

SessionOptions options(uint32_t sequences, uint32_t rows, uint32_t pages) {
  SessionOptions o;
  o.context = 256;
  o.sequences = sequences;
  o.max_rows = rows;
  o.max_logits = sequences;
  o.pages = pages;
  return o;
}

/// A step takes 10 ms and 1 ms a row.
ServeSimConfig config() {
  ServeSimConfig c;
  c.session = options(4, 64, 64);
  c.engine.policy = &kOrcaScheduling;
  c.prefix = "off";
  c.cost.step = {{{1, 0.011}, {101, 0.111}}, {}, 0, 0};
  c.token_of = [](uint64_t seed, size_t position) { return int32_t(7 * seed + position); };
  return c;
}

GenerateRequest request(uint32_t prompt, uint32_t tokens, uint64_t seed = 0) {
  GenerateRequest r;
  for (uint32_t i = 0; i < prompt; ++i) r.prompt.push_back(int32_t(1000 * (seed + 1) + i));
  r.max_tokens = tokens;
  r.sampling.seed = seed;
  return r;
}

/// Times of the tokens of requests, by their order.
struct Seen {
  std::map<uint32_t, std::vector<double>> at;
  std::map<uint32_t, std::string> refused;
  ServeSim::Events events(ServeSim& sim, uint32_t i) {
    return {[this, &sim, i](const TokenEvent&) { at[i].push_back(sim.now()); },
            [this, i](const Status& s) { refused[i] = s.message(); }};
  }
};

void expect_times(const std::vector<double>& got, const std::vector<double>& wanted) {
  ASSERT_EQ(got.size(), wanted.size());
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], wanted[i], 1e-12) << i;
}

TEST(ServeSim, TimesAreTheSumsOfTheCosts) {
  ServeSimConfig c = config();
  c.cost.ask = {0.002, 0.0001};
  c.cost.loop = {0.0005, 0.0001};
  c.cost.answer = {0.001, 0.0002};
  auto sim = ServeSim::create(c);
  ASSERT_TRUE(sim.ok());
  Seen seen;
  (*sim)->at(1, [&] { (*sim)->send(request(20, 3), seen.events(**sim, 0)); });
  ASSERT_TRUE((*sim)->run().ok());
  // Asked at 1: there at 1.004; a step of 20 rows, then two of one; 0.6 ms behind each.
  const double first = 1.004 + 0.030 + 0.0006;
  expect_times(seen.at[0], {first + 0.0012, first + 0.0116 + 0.0012, first + 2 * 0.0116 + 0.0012});
}

TEST(ServeSim, ARequestJoinsAtTheNextStep) {
  auto sim = ServeSim::create(config());
  ASSERT_TRUE(sim.ok());
  Seen seen;
  (*sim)->send(request(10, 4, 0), seen.events(**sim, 0));
  (*sim)->at(0.015, [&] { (*sim)->send(request(5, 2, 1), seen.events(**sim, 1)); });  // within the first step
  ASSERT_TRUE((*sim)->run().ok());
  // 10 rows; 1 + 5 rows; 1 + 1; 1.
  expect_times(seen.at[0], {0.020, 0.036, 0.048, 0.059});
  expect_times(seen.at[1], {0.036, 0.048});
}

TEST(ServeSim, WorkForClientsDelaysTheStepBesideIt) {
  ServeSimConfig c = config();
  c.cost.event_delays = 0.003;
  c.cost.ask_delays = {0.004, 0};
  auto sim = ServeSim::create(c);
  ASSERT_TRUE(sim.ok());
  Seen seen;
  (*sim)->send(request(10, 3, 0), seen.events(**sim, 0));  // nothing runs that it could delay
  (*sim)->at(0.5, [&] { (*sim)->send(request(10, 3, 1), seen.events(**sim, 1)); });
  (*sim)->at(0.505, [&] { (*sim)->send(request(1, 1, 2), seen.events(**sim, 2)); });
  ASSERT_TRUE((*sim)->run().ok());
  expect_times(seen.at[0], {0.020, 0.034, 0.048});
  // The request that came at 0.505 takes 4 ms from the step after the one that ran; the token of the first 3 ms.
  expect_times(seen.at[1], {0.520, 0.520 + 0.012 + 0.003 + 0.004, 0.539 + 0.011 + 2 * 0.003});
}

TEST(ServeSim, WhatIsSharedIsNotComputedAgain) {
  ServeSimConfig c = config();
  c.prefix = "radix";
  auto sim = ServeSim::create(c);
  ASSERT_TRUE(sim.ok());
  Seen seen;
  uint32_t reused = 0;
  (*sim)->send(request(40, 1, 0), seen.events(**sim, 0));
  (*sim)->at(1, [&] {
    GenerateRequest same = request(40, 1, 0);
    same.sampling.seed = 1;
    ServeSim::Events events = seen.events(**sim, 1);
    events.token = [&, token = events.token](const TokenEvent& e) {
      reused = e.times.reused;
      token(e);
    };
    (*sim)->send(std::move(same), events);
  });
  ASSERT_TRUE((*sim)->run().ok());
  EXPECT_EQ(reused, 39u);
  expect_times(seen.at[1], {1.011});
}

TEST(ServeSim, RefusesWhatTheServerRefuses) {
  ServeSimConfig c = config();
  c.queue = 1;
  c.session.sequences = 1;
  auto sim = ServeSim::create(c);
  ASSERT_TRUE(sim.ok());
  Seen seen;
  for (uint32_t i = 0; i < 3; ++i) (*sim)->send(request(10, 2, i), seen.events(**sim, i));
  (*sim)->at(1, [&] { (*sim)->send(request(256, 2, 3), seen.events(**sim, 3)); });
  ASSERT_TRUE((*sim)->run().ok());
  EXPECT_EQ(seen.at[0].size(), 2u);
  EXPECT_EQ(seen.at[1].size(), 2u);
  EXPECT_NE(seen.refused[2].find("429"), std::string::npos);
  EXPECT_NE(seen.refused[3].find("context"), std::string::npos);
}

TEST(ServeSim, CancelledRequestsOwnNothing) {
  auto sim = ServeSim::create(config());
  ASSERT_TRUE(sim.ok());
  Seen seen;
  const uint64_t first = (*sim)->send(request(10, 100, 0), seen.events(**sim, 0));
  (*sim)->send(request(10, 3, 1), seen.events(**sim, 1));
  (*sim)->at(0.05, [&] { (*sim)->cancel(first); });
  ASSERT_TRUE((*sim)->run().ok());
  EXPECT_LT(seen.at[0].size(), 4u);
  EXPECT_EQ(seen.at[1].size(), 3u);
  EXPECT_EQ((*sim)->pages().free_pages(), (*sim)->pages().pages());
}

/// A random stream through random options; the schedule log of it.
std::string random_stream(uint64_t seed, std::map<uint32_t, std::vector<double>>* times) {
  RandomStream random(seed, Purpose::test);
  ServeSimConfig c = config();
  const auto policies = scheduler_policies();
  const auto orders = request_orders();
  const auto kinds = prefix_index_kinds();
  c.session = options(1 + random.below(12), 16 + random.below(64), 0);
  c.session.max_logits = 1 + random.below(c.session.sequences);
  c.session.pages = 16 + random.below(60);
  c.engine.policy = policies[random.below(uint32_t(policies.size()))];
  c.engine.order = orders[random.below(uint32_t(orders.size()))];
  c.engine.chunk = random.below(2) ? 1 + random.below(c.session.max_rows) : 0;
  const uint32_t kind = random.below(uint32_t(kinds.size()) + 1);
  c.prefix = kind < kinds.size() ? kinds[kind].id : "off";
  c.promise_s = random.below(2) ? 0.02 + 0.05 * double(random.uniform()) : 0;
  c.cost.step.per_key = 1e-5;
  c.cost.spread = {0.9, 1, 1.1, 1.5};
  c.cost.ask = {1e-3, 1e-5};
  c.cost.answer = {1e-3, 1e-4};
  c.cost.event_delays = 1e-4;
  c.seed = seed;
  std::string text;
  ScheduleLog log([&](std::string_view line) { (text += line) += '\n'; });
  c.engine.log = &log;
  const uint32_t sequences = c.session.sequences;
  auto sim = ServeSim::create(c);
  EXPECT_TRUE(sim.ok());
  constexpr uint32_t kRequests = 60;
  std::map<uint32_t, uint32_t> wanted, got;
  double at = 0;
  for (uint32_t i = 0; i < kRequests; ++i) {
    at += 0.1 * double(random.uniform());
    GenerateRequest r = request(1 + random.below(120), 1 + random.below(40), random.below(6));
    r.sampling.seed = i;
    r.priority = int(random.below(3));
    r.key = random.below(3);
    r.space = random.below(4) == 0;
    wanted[i] = r.max_tokens;
    const bool leaves = random.below(8) == 0;
    const double after = 0.5 * double(random.uniform());
    (*sim)->at(at, [&, i, r, leaves, after] {
      const ServeSim::Events events = {[&, i](const TokenEvent& e) {
                                         EXPECT_EQ(e.sampled.token,
                                                   int32_t(7 * i + got[i]));  // each token once, in order
                                         ++got[i];
                                         (*times)[i].push_back((*sim)->now());
                                         EXPECT_LE((*sim)->engine().running(), sequences);
                                       },
                                       [](const Status& s) { ADD_FAILURE() << s.message(); }};
      const uint64_t number = (*sim)->send(r, events);
      if (leaves)
        (*sim)->at((*sim)->now() + after, [&, i, number] {
          (*sim)->cancel(number);
          wanted[i] = got[i];
        });
    });
  }
  EXPECT_TRUE((*sim)->run().ok());
  EXPECT_TRUE((*sim)->engine().idle());
  for (const auto& [i, n] : wanted) EXPECT_EQ(got[i], n) << "request " << i;
  // Pages free and kept are all there are.
  const uint32_t kept = (*sim)->prefix() ? (*sim)->prefix()->evictable() : 0;
  EXPECT_EQ((*sim)->pages().free_pages() + kept, (*sim)->pages().pages());
  return text;
}

TEST(ServeSim, LawsHoldOverRandomStreams) {
  for (uint64_t seed = 0; seed < (VIBEE_SANITIZE_BUILD ? 20 : 200); ++seed) {
    SCOPED_TRACE(seed);
    std::map<uint32_t, std::vector<double>> times, again;
    const std::string log = random_stream(seed, &times);
    EXPECT_EQ(log, random_stream(seed, &again));  // the same seed, the same bytes
    EXPECT_EQ(times, again);
    const auto replayed = replay_schedule(log, "log");
    ASSERT_TRUE(replayed.ok()) << replayed.status().message();
    if (replayed->difference)
      ADD_FAILURE() << replayed->difference->line << "\n"
                    << replayed->difference->logged << "\n"
                    << replayed->difference->decided;
    EXPECT_GT(replayed->requests, 40u);  // the others were cancelled on their way
    if (testing::Test::HasFailure()) return;
  }
}

TEST(Replay, NamesTheLineThatDiffers) {
  std::map<uint32_t, std::vector<double>> times;
  const std::string log = random_stream(3, &times);
  const size_t at = log.find(" | start", log.size() / 2);
  ASSERT_NE(at, log.npos);
  const size_t line_end = log.find('\n', at);
  std::string changed = log;
  changed.replace(at, 8, " | begin");
  const auto report = replay_schedule(changed, "log");
  ASSERT_TRUE(report.ok()) << report.status().message();
  ASSERT_TRUE(report->difference);
  EXPECT_EQ(report->difference->line, uint64_t(std::count(log.begin(), log.begin() + ptrdiff_t(line_end), '\n')) + 1);
}

TEST(Replay, RefusesWhatIsNoLog) {
  const std::string head = "vibee-schedule 1 context=64 sequences=2 rows=8 logits=2 pages=8 prefix=radix\n";
  const std::string opened = head + "options policy=orca order=fcfs chunk=0 aging=10 preempt=1\n";
  for (const std::string& bad :
       {std::string(), std::string("\n"), std::string("hello\n"), std::string("vibee-schedule 2\n"),
        std::string("vibee-schedule 1 context=64\n"), head + "#1 t=0\n", head + "options policy=none\n",
        opened + "#1 t=nan s=0 e=0 rows=0\n", opened + "request 0 t=-1\n", opened + "cancel x\n", opened + "dance 1\n",
        opened + "request 0 t=0 max=4 priority=0 key=0 space=0 scores=- tokens=- given=-\n", opened + "room 99\n",
        opened + "#1 t=1 s=1 e=1 rows=0 | drew 1\n",
        std::string("vibee-schedule 1 context=64 sequences=2 rows=8 logits=2 pages=4294967295 prefix=radix\n")}) {
    const auto report = replay_schedule(bad, "log");
    EXPECT_FALSE(report.ok()) << bad;
    if (!report.ok()) {
      EXPECT_EQ(report.status().message().find("log"), 0u) << report.status().message();
    }
  }
}

}  // namespace
}  // namespace vibee
