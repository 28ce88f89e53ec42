// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/traffic/measures.h"

#include <gtest/gtest.h>

#include "vibee/app/traffic/report.h"

namespace vibee {
namespace {

RequestRecord record(double sent, std::vector<double> at, uint64_t tokens) {
  RequestRecord r;
  r.due_s = r.sent_s = sent;
  for (const double t : at) r.pieces.push_back({t, 0});
  r.end_s = at.empty() ? sent : at.back();
  r.output_tokens = tokens;
  r.prompt_tokens = 10;
  r.counted = r.finished = true;
  r.status = 200;
  if (at.empty()) r.error = "no answer";
  return r;
}

TEST(Percentile, IsNumpysLinearOne) {
  const std::vector<double> v = {1, 2, 3, 4, 10};
  EXPECT_DOUBLE_EQ(percentile(v, 0), 1);
  EXPECT_DOUBLE_EQ(percentile(v, 50), 3);
  EXPECT_DOUBLE_EQ(percentile(v, 90), 7.6);  // numpy.percentile(v, 90)
  EXPECT_DOUBLE_EQ(percentile(v, 99), 9.76);
  EXPECT_DOUBLE_EQ(percentile(v, 100), 10);
  EXPECT_DOUBLE_EQ(percentile({}, 50), 0);
  EXPECT_DOUBLE_EQ(percentile(std::vector<double>{7}, 95), 7);
}

TEST(TimeWeightedPercentile, SeesTheStallThatThePercentileOfGapsHides) {
  std::vector<double> gaps(1000, 0.01);
  gaps.push_back(7);  // 17 s in all, 7 of them in the stall
  EXPECT_DOUBLE_EQ(percentile(gaps, 99), 0.01);
  EXPECT_DOUBLE_EQ(time_weighted_percentile(gaps, 50), 0.01);
  EXPECT_DOUBLE_EQ(time_weighted_percentile(gaps, 60), 7);
  EXPECT_DOUBLE_EQ(time_weighted_percentile(gaps, 99), 7);
  EXPECT_DOUBLE_EQ(time_weighted_percentile({}, 99), 0);
}

TEST(Measures, AreThoseOfTheirDefinitions) {
  // Three answers (one of a single token), one failure, one cancelled.
  std::vector<RequestRecord> records = {record(0, {1, 1.5, 3}, 5), record(1, {2}, 1), record(2, {2.5, 3.5}, 3),
                                        record(2.5, {}, 0), record(3, {3.25}, 9)};
  records[1].first_text_s = 2;
  records[1].due_s = 0.5;
  records[2].counted = false;
  records[4].cancelled = true;
  LatencyLimits limits;
  limits.ttft = 1;
  limits.tpot = 0.5;
  const Measures m = measure(records, limits);
  EXPECT_EQ(m.requests, 5u);
  EXPECT_EQ(m.completed, 3u);
  EXPECT_EQ(m.failed, 1u);
  EXPECT_EQ(m.cancelled, 1u);
  EXPECT_EQ(m.uncounted, 1u);
  EXPECT_DOUBLE_EQ(m.seconds, 3.5);
  EXPECT_EQ(m.output_tokens, 9u);
  EXPECT_DOUBLE_EQ(m.output_rate(), 9 / 3.5);
  EXPECT_EQ(m.most_at_once, 2u);  // half-open: the second ends as the third begins; the failed one took no time
  EXPECT_DOUBLE_EQ(m.ttft.mean, (1 + 1 + 0.5) / 3);
  EXPECT_DOUBLE_EQ(m.e2el.most, 3);
  EXPECT_EQ(m.tpot.count, 2u);
  EXPECT_DOUBLE_EQ(m.tpot.most, 0.5);   // (3 - 1) / (5 - 1)
  EXPECT_DOUBLE_EQ(m.tpot.least, 0.5);  // (1.5 - 0.5) / (3 - 1)
  EXPECT_EQ(m.itl.count, 3u);           // 0.5, 1.5, 1
  EXPECT_DOUBLE_EQ(m.itl.p50, 1);
  EXPECT_DOUBLE_EQ(m.longest_gap.most, 1.5);
  EXPECT_EQ(m.first_text.count, 1u);
  EXPECT_DOUBLE_EQ(m.lag.most, 0.5);
  EXPECT_EQ(m.met, 3u);  // limits are met by equality, and a TPOT of one token is 0
  EXPECT_DOUBLE_EQ(m.attainment.value, 0.75);
  limits.tpot = 0.4999;
  EXPECT_EQ(measure(records, limits).met, 1u);
  limits.ttft = 0.9;
  EXPECT_EQ(measure(records, limits).met, 0u);
  EXPECT_DOUBLE_EQ(measure({}, limits).output_rate(), 0);
}

TEST(Measures, DivideAGapAmongTheTokensOfItsEvent) {
  const std::vector<RequestRecord> records = {record(0, {1, 2, 5}, 5)};
  const std::vector<std::vector<uint32_t>> tokens = {{1, 1, 3}};
  const Measures m = measure(records, {}, tokens);
  EXPECT_EQ(m.itl_token.count, 4u);
  EXPECT_DOUBLE_EQ(m.itl_token.most, 1);
  EXPECT_DOUBLE_EQ(m.itl.most, 3);
}

TEST(Wilson, EqualsPublishedIntervals) {
  const Share s =
      wilson(81, 263);  // Newcombe, "Two-sided confidence intervals for the single proportion" (1998), table I
  EXPECT_NEAR(s.low, 0.2553, 5e-5);
  EXPECT_NEAR(s.high, 0.3662, 5e-5);
  EXPECT_NEAR(wilson(0, 20).high, 0.1611, 5e-5);
  EXPECT_DOUBLE_EQ(wilson(0, 20).low, 0);
  EXPECT_DOUBLE_EQ(wilson(0, 0).high, 1);
}

TEST(LatencyLimits, AreReadAndRefused) {
  const auto limits = parse_limits("ttft:1500,tpot:80@0.95");
  ASSERT_TRUE(limits.ok());
  EXPECT_DOUBLE_EQ(*limits->ttft, 1.5);
  EXPECT_DOUBLE_EQ(*limits->tpot, 0.08);
  EXPECT_FALSE(limits->e2el);
  EXPECT_DOUBLE_EQ(limits->share, 0.95);
  EXPECT_DOUBLE_EQ(parse_limits("e2el:10")->share, 0.9);
  EXPECT_EQ(limits_text(*limits), "ttft 1500 ms, tpot 80 ms");
  for (const char* text : {"", "ttft", "ttft:", "ttft:x", "ttft:-1", "ttft:1,", "ttft:1,ttft:2", "itl:5", "ttft:1@",
                           "ttft:1@1.5", "ttft:nan", "@0.9", "ttft:inf"})
    EXPECT_FALSE(parse_limits(text).ok()) << text;
}

}  // namespace
}  // namespace vibee
