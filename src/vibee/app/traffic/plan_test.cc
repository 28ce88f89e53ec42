// SPDX-License-Identifier: Apache-2.0
// Workloads against a simulated server: the load generator's own conversations, arrivals and figures.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "vibee/app/traffic/plan_error.h"
#include "vibee/app/traffic/simulated_traffic.h"
#include "vibee/kit/small_tokenizer.h"

namespace vibee {
namespace {

using testing::HasSubstr;

/// Words of the load generator, so that prompts have exactly the tokens asked for.
std::unique_ptr<Tokenizer> words() {
  std::vector<std::string> pieces;
  for (const char* word : {"about",   "after", "again", "all",    "also",    "and",  "any",    "are",   "area",
                           "around",  "back",  "bad",   "be",     "because", "been", "before", "best",  "better",
                           "between", "big",   "black", "body",   "book",    "both", "but",    "by",    "call",
                           "can",     "car",   "case",  "change", "child",   "city", "come",   "could", "country"}) {
    // Every way in which a word is put together, so that merging letters reaches the word.
    for (size_t n = 2; n <= std::string(word).size(); ++n) pieces.push_back(std::string(word).substr(0, n));
    for (size_t n = 1; n <= std::string(word).size(); ++n) pieces.push_back(" " + std::string(word).substr(0, n));
  }
  std::sort(pieces.begin(), pieces.end());
  pieces.erase(std::unique(pieces.begin(), pieces.end()), pieces.end());
  for (char c = 'a'; c <= 'z'; ++c) pieces.emplace_back(1, c);
  pieces.emplace_back(" ");
  // Longer pieces first: the smaller the number, the sooner two are merged.
  std::stable_sort(pieces.begin(), pieces.end(), [](const auto& a, const auto& b) { return a.size() > b.size(); });
  return small_tokenizer(pieces);
}

class Plan : public testing::Test {
 protected:
  Plan() : tokenizer_(words()) {}

  std::unique_ptr<BenchServer> server(uint64_t seed = 1) {
    SimulatedTarget t;
    t.model = "model";
    t.tokenizer = tokenizer_.get();
    t.chat = false;
    t.times = "times by hand";
    ServeSimConfig& s = t.server;
    s.session.context = 1024;
    s.session.sequences = s.session.max_logits = 8;
    s.session.max_rows = 256;
    s.session.pages = 512;
    s.engine.policy = &kOrcaScheduling;
    s.cost.step = {{{1, 0.01}, {256, 0.265}}, {}, 0, 0};
    s.cost.spread = {0.9, 1.1};
    s.seed = seed;
    auto made = simulated_bench_server(std::move(t));
    EXPECT_TRUE(made.ok()) << made.status().message();
    return std::move(*made);
  }
  static Result<TrafficReport> plan(BenchServer& server, const TrafficConfig& config) {
    VIBEE_ASSIGN(const Traffic traffic, make_traffic(config, server.tokenizer()));
    return run_bench(server, config, traffic, "x", [](const TrafficProgress&) { return true; });
  }
  static TrafficConfig config(uint32_t requests, uint32_t clients) {
    TrafficConfig c;
    c.parts[0].workload.conversations = requests;
    c.parts[0].workload.prompt = *parse_lengths("40");
    c.parts[0].workload.output = *parse_lengths("10");
    c.parts[0].arrivals.clients = clients;
    return c;
  }
  std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_F(Plan, FiguresAreThoseOfTheClock) {
  const auto s = server();
  TrafficConfig c = config(4, 1);
  const auto report = plan(*s, c);
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_EQ(report->all.completed, 4u);
  EXPECT_EQ(report->all.output_tokens, 40u);
  EXPECT_EQ(report->all.prompt_tokens, 160u);
  // 40 rows take 49 ms, one takes 10, each within a tenth.
  EXPECT_GE(report->all.ttft.least, 0.9 * 0.049);
  EXPECT_LE(report->all.ttft.most, 1.1 * 0.049);
  EXPECT_NEAR(report->all.tpot.mean, 0.010, 0.001);
  EXPECT_THAT(report_text(*report), HasSubstr("modelled, not measured: times by hand"));
  EXPECT_THAT(report_json(*report), HasSubstr("\"modelled\": \"times by hand\""));
}

TEST_F(Plan, TheSameSeedGivesTheSameBytes) {
  TrafficConfig c = config(60, 12);
  EXPECT_TRUE(parse_rate("20", &c.parts[0].arrivals).ok());
  c.warmup = 3;
  std::vector<std::string> out;
  for (const uint64_t seed : {1, 1, 2}) {
    auto report = plan(*server(seed), c);
    ASSERT_TRUE(report.ok()) << report.status().message();
    EXPECT_EQ(report->all.completed, 60u);
    report->date.clear();
    out.push_back(report_json(*report));
  }
  EXPECT_EQ(out[0], out[1]);
  EXPECT_NE(out[0], out[2]);
}

TEST_F(Plan, TurnsFindWhatWasSaidBefore) {
  TrafficConfig c = config(2, 2);
  c.parts[0].workload.turns = 3;
  c.parts[0].workload.think_s = 1;
  const auto report = plan(*server(), c);
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_EQ(report->all.completed, 6u);
  for (const RequestRecord& r : report->run.records) {
    EXPECT_EQ(r.prompt_tokens, 40 + 50 * r.turn);                             // with the answers in between
    EXPECT_GE(r.cached_tokens, r.turn == 0 ? 0 : 50 * r.turn - 1) << r.turn;  // all but the last token's keys
  }
}

TEST_F(Plan, BackgroundsEndWithTheOthersAndSeriesRun) {
  TrafficConfig c = config(3, 1);
  c.parts.push_back(c.parts[0]);
  c.parts[1].name = "streams";
  c.parts[1].background = true;
  c.parts[1].arrivals.clients = 2;
  c.parts[1].workload.output = *parse_lengths("300");
  const auto report = plan(*server(), c);
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_EQ(report->by_part[0].completed, 3u);
  EXPECT_EQ(report->by_part[1].cancelled, 2u);

  TrafficConfig rates = config(60, 1);
  rates.limits = *parse_limits("ttft:500@0.5");
  EXPECT_TRUE(parse_rate("5", &rates.parts[0].arrivals).ok());
  const auto s = server();
  const auto found = search_rate(*s, rates, "x", [](const TrafficProgress&) { return true; });
  ASSERT_TRUE(found.ok()) << found.status().message();
  EXPECT_GT(found->found.rate, 5);
  EXPECT_LT(found->found.rate, 50);  // 8 at a time take 49 ms and 10 steps of 17 ms
  EXPECT_TRUE(found->found.bounded);
}

TEST_F(Plan, ARefusalIsAFailedRequest) {
  TrafficConfig c = config(2, 1);
  c.parts[0].workload.prompt = *parse_lengths("2000");
  const auto report = plan(*server(), c);
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_EQ(report->all.failed, 2u);
  EXPECT_THAT(frequent_errors(report->run.records)[0], HasSubstr("the prompt has 2000 tokens"));
}

TEST(PlanError, IsOfTheFiguresThatWereMeasured) {
  const auto measured = parse_plan_reference(
      R"({"measures": {"ttft_ms": {"p50": 100, "p95": 200}, "output_throughput": 50}})", "run.json");
  ASSERT_TRUE(measured.ok());
  Measures planned;
  planned.ttft.p50 = 0.105;
  planned.ttft.p95 = 0.26;
  planned.seconds = 2;
  planned.output_tokens = 90;
  const PlanError e = plan_error(*measured, planned);
  ASSERT_EQ(e.figures.size(), 3u);
  EXPECT_NEAR(e.figures[0].error(), 0.05, 1e-9);
  EXPECT_TRUE(e.figures[0].within());
  EXPECT_NEAR(e.figures[1].error(), 0.3, 1e-9);
  EXPECT_FALSE(e.figures[1].within());
  EXPECT_NEAR(e.figures[2].error(), -0.1, 1e-9);
  EXPECT_THAT(plan_error_text(e), HasSubstr("30.0 %      15 %  beyond"));
  for (const char* bad : {"", "[]", "{}", "{\"measures\": {}}", "{\"measures\": 3}"})
    EXPECT_FALSE(parse_plan_reference(bad, "run.json").ok()) << bad;
}

}  // namespace
}  // namespace vibee
