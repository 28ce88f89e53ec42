// SPDX-License-Identifier: Apache-2.0
// Runs against a scripted server (tests/mock_openai_server.py) that says when it sent what: every time that the client
// takes is held against the server's own clock, which is the same one.
#include "vibee/app/traffic/traffic.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "vibee/app/traffic/bench_serve.h"
#include "vibee/kit/python_server.h"
#include "vibee/model/weight/json.h"

namespace vibee {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
namespace fs = std::filesystem;

constexpr double kLate = 0.25;    // what a busy machine may add to any one event; sanitizers included
constexpr double kMedian = 0.02;  // and to the median of many

fs::path new_root() {
  static int serial = 0;
  return fs::temp_directory_path() / fmt::format("vibee_traffic_test_{}_{}", ::getpid(), serial++);
}

class Mock : public testing::Test {
 protected:
  Mock() : root_(new_root()), server_("mock_openai_server.py", root_) { target_.url = *parse_url(server_.url()); }
  ~Mock() override { fs::remove_all(root_); }

  static Conversation one(const std::string& script) { return {"", {{"user", "SCRIPT " + script, 8, 0}}, 0}; }
  TrafficRun run(std::vector<Conversation> conversations, Arrivals arrivals = {}, bool background = false) {
    std::vector<TrafficPart> parts = {{"x", std::move(conversations), arrivals, background}};
    return run(parts);
  }
  TrafficRun run(const std::vector<TrafficPart>& parts) {
    EXPECT_TRUE(prepare_target(&target_, 0).ok());
    auto out = run_traffic(target_, parts, 1, [](const TrafficProgress&) { return true; });
    EXPECT_TRUE(out.ok()) << out.status().message();
    return std::move(*out);
  }
  std::vector<JsonValue> lines(const char* name) const {
    std::vector<JsonValue> out;
    std::ifstream in(root_ / name);
    for (std::string line; std::getline(in, line);) out.push_back(*parse_json(line));
    return out;
  }

  fs::path root_;
  PythonServer server_;
  Target target_;
};

TEST_F(Mock, TimesAreThoseOfTheServer) {
  std::vector<Conversation> conversations(
      20, one("wait 0.05 say a wait 0.04 say b comment wait 0.05 say c empty say d finish stop usage 11 4 done"));
  Arrivals arrivals;
  arrivals.clients = 1;
  const TrafficRun done = run(conversations, arrivals);
  const std::vector<JsonValue> sent = lines("times");
  ASSERT_EQ(done.records.size(), 20u);
  ASSERT_EQ(sent.size(), 20u);
  std::vector<double> off;
  for (size_t i = 0; i < 20; ++i) {
    const RequestRecord& r = done.records[i];
    ASSERT_TRUE(r.completed()) << r.error;
    ASSERT_EQ(r.pieces.size(), 5u);  // neither the comment nor the event without choices nor usage
    EXPECT_EQ(r.text, "abcd");
    EXPECT_EQ(r.prompt_tokens, 11u);
    EXPECT_EQ(r.cached_tokens, 2u);
    EXPECT_EQ(r.output_tokens, 4u);
    EXPECT_GE(r.ttft(), 0.05);
    for (size_t k = 1; k < 5; ++k) {
      const double theirs = sent[i].items[k].number - sent[i].items[0].number;
      off.push_back(std::abs(r.pieces[k].at_s - r.pieces[0].at_s - theirs));
      EXPECT_LT(off.back(), kLate);
    }
  }
  EXPECT_LT(summarize(off).p50, kMedian);
  const Measures m = measure(done.records, {});
  EXPECT_LT(m.ttft.p50, 0.05 + kLate);
  EXPECT_GT(m.tpot.p50, (0.09 - kMedian) / 3);
  EXPECT_GT(m.itl_time_p99, 0.05 - kMedian);
  EXPECT_EQ(m.most_at_once, 1u);
}

TEST_F(Mock, KnowsRolesBundlesAndSplits) {
  // Whatever the server waited for lies between the request and the piece; two pieces may come closer than they were
  // sent, where the first is read late.
  const TrafficRun done = run({one("role wait 0.2 bundle x y z , wait 0.05 split 0.05 say end done")});
  const RequestRecord& r = done.records[0];
  ASSERT_EQ(r.pieces.size(), 5u);
  EXPECT_GE(r.first_text_s - r.sent_s, 0.2);       // the role alone is no text
  EXPECT_LT(r.ttft(), r.first_text_s - r.sent_s);  // but vLLM's first event
  EXPECT_LT(r.pieces[3].at_s - r.pieces[1].at_s, kLate);
  EXPECT_GE(r.pieces[4].at_s - r.sent_s, 0.3);  // an event counts when it is whole
  EXPECT_EQ(r.text, "xyzend");
  EXPECT_FALSE(r.counted);
  EXPECT_EQ(r.output_tokens, 5u);  // pieces, where the server counts none and there is no tokenizer
}

TEST_F(Mock, FailuresAreNamedAndCountedAsSuch) {
  const TrafficRun done = run(
      {one("say a cut"), one("status 503"), one("say a raw data:_nonsense||"), one("usage 1 2 done"),
       one("say a raw data:_{\"error\":{\"message\":\"out_of_memory\"}}||"), one("say a say b"), one("say a done")});
  std::vector<std::string> errors(7);
  for (const RequestRecord& r : done.records) errors[r.conversation] = r.error;
  EXPECT_THAT(errors,
              ElementsAre(HasSubstr("broke off"), HasSubstr("HTTP 503: as the script says"),
                          HasSubstr("no JSON object: \"nonsense\""), HasSubstr("no event with choices"),
                          HasSubstr("the server says: out of memory"), HasSubstr("without a finish_reason"), ""));
  const Measures m = measure(done.records, {});
  EXPECT_EQ(m.failed, 6u);
  EXPECT_EQ(m.completed, 1u);
}

TEST_F(Mock, AnOpenLoopShowsAPauseThatAClosedOneHides) {
  // Every answer takes 10 ms but one of 400; the open loop goes on sending meanwhile, on time.
  std::vector<Conversation> conversations(40, one("wait 0.01 say a done"));
  conversations[5] = one("wait 0.4 say a done");
  Arrivals open;
  ASSERT_TRUE(parse_rate("80", &open).ok());
  const TrafficRun done = run(conversations, open);
  const Measures m = measure(done.records, {});
  EXPECT_EQ(m.completed, 40u);
  EXPECT_LT(m.lag.p50, kMedian);
  EXPECT_NEAR(done.records.back().sent_s, 0.5, kLate);  // 40 / 80
  EXPECT_GE(m.ttft.most, 0.4);
  EXPECT_GE(m.most_at_once, 2u);
}

TEST_F(Mock, TurnsCarryWhatWasSaidAndWaitForTheirTime) {
  Conversation c{"shared words", {}, 0};
  for (int i = 0; i < 3; ++i) c.turns.push_back({"user", "SCRIPT say answer finish stop done", 8, i ? 0.05 : 0});
  const TrafficRun done = run({c});
  ASSERT_EQ(done.records.size(), 3u);
  EXPECT_GE(done.records[1].sent_s - done.records[0].end_s, 0.05);
  const std::vector<JsonValue> log = lines("log");
  const JsonValue* body = log[2].find("body");
  EXPECT_EQ(body->find("messages")->items.size(), 6u);
  EXPECT_EQ(body->find("messages")->items[0].find("role")->text, "system");
  EXPECT_EQ(body->find("messages")->items[4].find("content")->text, "answer");
  EXPECT_EQ(body->find("model")->text, "mock");
  target_.chat = false;
  target_.fields = "\"top_k\": 5";
  target_.keys = {"k0", "k1"};
  run({one("say b done"), c});
  const JsonValue last = lines("log").back();
  EXPECT_EQ(last.find("path")->text, "/v1/completions");
  EXPECT_THAT(last.find("body")->find("prompt")->text, HasSubstr("shared words SCRIPT"));
  EXPECT_EQ(last.find("body")->find("top_k")->integer, 5);
  EXPECT_EQ(last.find("key")->text, "Bearer k1");
}

TEST_F(Mock, TheBackgroundLastsAsLongAsTheRest) {
  std::vector<TrafficPart> parts(2);
  parts[0] = {"front", std::vector<Conversation>(3, one("wait 0.05 say a done")), {}, false};
  parts[0].arrivals.clients = 1;
  parts[1] = {"behind", {one("say a wait 0.02 say b wait 0.02 say c done")}, {}, true};
  parts[1].arrivals.clients = 1;
  const TrafficRun done = run(parts);
  size_t front = 0, behind = 0, cancelled = 0;
  for (const RequestRecord& r : done.records) {
    (r.part == 0 ? front : behind) += 1;
    cancelled += r.cancelled;
    EXPECT_FALSE(r.failed()) << r.error;
  }
  EXPECT_EQ(front, 3u);
  EXPECT_GE(behind, 2u);
  EXPECT_LE(cancelled, 1u);
}

TEST_F(Mock, StopsWhenItIsAskedTo) {
  ASSERT_TRUE(prepare_target(&target_, 0).ok());
  std::vector<TrafficPart> parts = {{"x", std::vector<Conversation>(50, one("say a wait 30 say b done")), {}, false}};
  const auto done = run_traffic(target_, parts, 1, [](const TrafficProgress& p) { return p.pieces < 8; });
  ASSERT_TRUE(done.ok());
  EXPECT_TRUE(done->interrupted);
  EXPECT_LT(done->seconds, 20);
  EXPECT_EQ(measure(done->records, {}).cancelled, 8u);
}

TEST_F(Mock, AReportHoldsEveryFigure) {
  ASSERT_TRUE(prepare_target(&target_, 0).ok());
  const auto server = http_bench_server(target_);
  TrafficConfig config;
  config.warmup = 2;
  config.limits = *parse_limits("ttft:5000@0.5");
  config.parts[0].workload.conversations = 6;
  const auto traffic = make_traffic(config, nullptr);
  ASSERT_TRUE(traffic.ok());
  const auto report =
      run_bench(*server, config, *traffic, "own <workload>", [](const TrafficProgress&) { return true; });
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_EQ(lines("log").size(), 8u);
  const auto json = parse_json(report_json(*report));
  ASSERT_TRUE(json.ok()) << json.status().message();
  const JsonValue* m = json->find("measures");
  EXPECT_EQ(m->find("completed")->integer, 6);
  EXPECT_EQ(m->find("output_tokens")->integer, 18);
  EXPECT_DOUBLE_EQ(m->find("ttft_ms")->find("p95")->number, 1e3 * report->all.ttft.p95);
  EXPECT_DOUBLE_EQ(m->find("goodput")->find("attainment")->number, 1);
  EXPECT_THAT(report_text(*report), HasSubstr("6 requests: 6 completed, 0 failed"));
  const std::string page = report_html(*report);
  EXPECT_THAT(page, HasSubstr("own &lt;workload&gt;"));
  EXPECT_THAT(page, HasSubstr("<svg"));
  EXPECT_EQ(page.find("http-equiv"), std::string::npos);
  EXPECT_EQ(page.find("src="), std::string::npos);  // nothing from elsewhere
}

TEST_F(Mock, SeriesFindTheirWay) {
  ASSERT_TRUE(prepare_target(&target_, 0).ok());
  const auto server = http_bench_server(target_);
  TrafficConfig config;
  config.parts[0].workload.conversations = 60;
  config.limits = *parse_limits("ttft:5000@0.5");
  const auto go = [](const TrafficProgress&) { return true; };
  EXPECT_TRUE(parse_rate("200", &config.parts[0].arrivals).ok());
  const auto found = search_rate(*server, config, "x", go);
  ASSERT_TRUE(found.ok()) << found.status().message();
  EXPECT_GE(found->found.rate, 200);  // the mock is faster than any rate of 12 runs from there, or the machine's limit
  EXPECT_LE(found->found.trials.size(), 12u);
  EXPECT_EQ(found->report.all.completed, 60u);
  const auto sweep = sweep_rates(*server, config, 2, "x", go);
  ASSERT_TRUE(sweep.ok()) << sweep.status().message();
  ASSERT_EQ(sweep->size(), 4u);
  EXPECT_EQ(sweep->front().all.most_at_once, 1u);
  const std::string text = sweep_text(*sweep);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 5);
  EXPECT_THAT(text.substr(text.rfind("\n", text.size() - 2)), HasSubstr("all at once"));
  std::set<std::string> prompts;
  for (const JsonValue& line : lines("log"))
    prompts.insert(line.find("body")->find("messages")->items.back().find("content")->text);
  EXPECT_EQ(prompts.size(), lines("log").size());  // no run repeats what the server has seen
  config.limits = {};
  EXPECT_THAT(search_rate(*server, config, "x", go).status().message(), HasSubstr("--goodput"));
}

TEST(Target, WhatCannotBeReachedIsOneLine) {
  Target target;
  target.url = *parse_url("http://127.0.0.1:1/v1/");
  EXPECT_THAT(prepare_target(&target, 0).message(), HasSubstr("cannot connect"));
  EXPECT_EQ(target.url.path, "");
  EXPECT_FALSE(json_members("[1]").ok());
  EXPECT_FALSE(json_members("{").ok());
  EXPECT_EQ(*json_members(" {\"a\": 1} "), "\"a\": 1");
  EXPECT_EQ(*json_members("{}"), "");
}

}  // namespace
}  // namespace vibee
