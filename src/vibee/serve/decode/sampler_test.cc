// SPDX-License-Identifier: Apache-2.0
#include "vibee/serve/decode/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>

#include "vibee/base/random/philox.h"
#include "vibee/serve/decode/stop.h"

namespace vibee {
namespace {

std::vector<float> row(uint32_t n) {
  RandomStream random(4, Purpose::test, n);
  std::vector<float> x(n);
  for (float& v : x) v = 2 * random.normal();
  return x;
}

/// The distribution that the filters define, by sorting everything.
std::vector<double> expected(const std::vector<float>& logits, const SamplingParams& p) {
  const size_t n = logits.size();
  std::vector<size_t> order(n);
  for (size_t i = 0; i < n; ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return logits[a] > logits[b]; });
  std::vector<double> q(n);
  for (size_t i = 0; i < n; ++i) q[i] = std::exp((double(logits[i]) - logits[order[0]]) / p.temperature);
  std::vector<bool> kept(n, true);
  const auto total = [&] {
    double sum = 0;
    for (size_t i = 0; i < n; ++i) sum += kept[i] ? q[i] : 0;
    return sum;
  };
  if (p.top_k > 0)
    for (size_t r = p.top_k; r < n; ++r) kept[order[r]] = false;
  if (p.top_p < 1) {
    const double sum = total();
    double mass = 0;
    for (size_t r = 0; r < n; ++r) {
      if (mass >= p.top_p) kept[order[r]] = false;
      if (kept[order[r]]) mass += q[order[r]] / sum;
    }
  }
  if (p.min_p > 0)
    for (size_t i = 0; i < n; ++i) kept[i] = kept[i] && q[i] >= p.min_p;
  const double sum = total();
  for (size_t i = 0; i < n; ++i) q[i] = kept[i] ? q[i] / sum : 0;
  return q;
}

TEST(Sampler, DrawsOnlyWhatIsAllowedAsIfTheRestWereNotThere) {
  const uint32_t n = 150;
  RandomStream random(9, Purpose::test);
  for (uint32_t trial = 0; trial < 200; ++trial) {
    std::vector<float> logits = row(n);
    if (trial % 5 == 4) logits[random.below(n)] = NAN;
    const std::vector<float> before = logits;
    std::vector<uint64_t> allowed((n + 63) / 64 - trial % 2);  // bits that are not there are 0
    for (uint32_t i = 0; i <= random.below(20); ++i) {
      const uint32_t t = random.below(uint32_t(allowed.size()) * 64);
      if (t < n) allowed[t / 64] |= uint64_t(1) << (t % 64);
    }
    allowed[0] |= 4;
    SamplingParams p;
    p.seed = trial;
    p.temperature = trial % 3 ? 0.9f : 0;
    if (trial % 4 == 1) p.top_k = 5;
    if (trial % 4 == 2) p.top_p = 0.8f;
    if (trial % 7 == 3) p.typical_p = 0.7f;
    if (trial % 4 == 3) p.min_p = 0.05f;
    if (trial % 6 == 5) p.repetition_penalty = 1.5f;
    const std::vector<int32_t> seen = {2, 5, 40};
    Sampler sampler(p, pointwise(Isa::scalar));
    const Sampled got = sampler.sample(logits, seen, 7, allowed);
    ASSERT_TRUE(allowed[size_t(got.token) / 64] >> (got.token % 64) & 1) << trial;
    EXPECT_EQ(std::memcmp(logits.data(), before.data(), n * 4), 0);
    if (trial % 5 == 4) continue;
    std::vector<float> without = before;
    for (uint32_t t = 0; t < n; ++t)
      if (t / 64 >= allowed.size() || !(allowed[t / 64] >> (t % 64) & 1)) without[t] = -INFINITY;
    EXPECT_EQ(got.token, sampler.sample(without, seen, 7).token) << trial;
    p.logprobs = 1;
    std::vector<float> whole = before;
    EXPECT_EQ(Sampler(p, pointwise(Isa::scalar)).sample(whole, seen, 7, allowed).logprob, got.logprob);
  }
  std::vector<float> lost(n, -INFINITY);
  lost[3] = 1;
  const std::vector<uint64_t> allowed = {0, 16};
  EXPECT_EQ(Sampler({}, pointwise(Isa::scalar)).sample(lost, {}, 0, allowed).token, 68);
}

TEST(Sampler, DrawsTheFilteredDistribution) {
  const auto logits = row(40);
  SamplingParams cases[5];
  for (auto& p : cases) p.temperature = 0.8f;
  cases[1].top_k = 7;
  cases[2].top_p = 0.7f;
  cases[3].min_p = 0.1f;
  cases[4].top_k = 20, cases[4].top_p = 0.9f, cases[4].min_p = 0.02f, cases[4].temperature = 1.5f;
  for (const SamplingParams& p : cases) {
    const auto want = expected(logits, p);
    Sampler sampler(p, pointwise_scalar);
    constexpr int kDraws = 20000;
    std::vector<int> count(logits.size());
    auto copy = logits;
    for (int i = 0; i < kDraws; ++i) ++count[size_t(sampler.sample(copy, {}, uint32_t(i)).token)];
    double chi2 = 0;
    int cells = 0;
    for (size_t t = 0; t < logits.size(); ++t) {
      if (want[t] == 0) {
        EXPECT_EQ(count[t], 0);
      }
      if (want[t] * kDraws < 5) continue;
      chi2 += (count[t] - want[t] * kDraws) * (count[t] - want[t] * kDraws) / (want[t] * kDraws);
      ++cells;
    }
    // Mean cells, deviation sqrt(2 cells): five deviations.
    EXPECT_LT(chi2, cells + 5 * std::sqrt(2.0 * cells));
    EXPECT_EQ(copy, logits);
  }
}

TEST(Sampler, SameSeedAndPositionSameToken) {
  auto logits = row(1000);
  SamplingParams p;
  p.temperature = 1;
  p.seed = 99;
  Sampler a(p, pointwise_scalar), b(p, pointwise(detected_isa()));
  for (uint32_t pos = 50; pos-- > 0;) EXPECT_EQ(a.sample(logits, {}, pos).token, b.sample(logits, {}, pos).token);
}

TEST(Sampler, GreedyPenaltiesAndBias) {
  std::vector<float> logits = {1, 5, 4.5f, -1};
  SamplingParams p;
  EXPECT_EQ(Sampler(p, pointwise_scalar).sample(logits, {}, 0).token, 1);
  p.presence_penalty = 1;
  const int32_t seen[] = {1, 1};
  EXPECT_EQ(Sampler(p, pointwise_scalar).sample(logits, seen, 0).token, 2);
  p = {};
  p.repetition_penalty = 2;
  EXPECT_EQ(Sampler(p, pointwise_scalar).sample(logits, seen, 0).token, 2);
  p = {};
  p.logit_bias = {{3, 10}};
  const Sampled s = Sampler(p, pointwise_scalar).sample(logits, {}, 0);
  EXPECT_EQ(s.token, 3);
  double sum = 0;
  for (float x : logits) sum += std::exp(double(x));
  EXPECT_NEAR(s.logprob, -1 - std::log(sum), 1e-5);
}

TEST(Sampler, LogprobsAreTheModelsOwn) {
  auto logits = row(50);
  SamplingParams p;
  p.temperature = 0.3f;
  p.logprobs = 5;
  const Sampled s = Sampler(p, pointwise_scalar).sample(logits, {}, 3);
  ASSERT_EQ(s.top.size(), 5u);
  double sum = 0;
  for (float x : logits) sum += std::exp(double(x));
  for (const auto& t : s.top) EXPECT_NEAR(t.logprob, logits[size_t(t.token)] - std::log(sum), 1e-5);
  EXPECT_GT(s.top[0].logprob, s.top[4].logprob);
}

TEST(Sampler, TypicalKeepsOneAtLeast) {
  auto logits = row(50);
  SamplingParams p;
  p.temperature = 1;
  p.typical_p = 0.2f;
  Sampler sampler(p, pointwise_scalar);
  for (uint32_t i = 0; i < 100; ++i) EXPECT_LT(sampler.sample(logits, {}, i).token, 50);
}

TEST(Sampler, RefusesWhatIsOutOfRange) {
  SamplingParams p;
  p.temperature = -1;
  EXPECT_NE(validate(p, 10).message().find("temperature"), std::string::npos);
  p = {};
  p.top_p = 0;
  EXPECT_FALSE(validate(p, 10).ok());
  p = {};
  p.logit_bias = {{10, 1}};
  EXPECT_FALSE(validate(p, 10).ok());
  p.logit_bias = {{9, NAN}};
  EXPECT_FALSE(validate(p, 10).ok());
}

TEST(StopStrings, NeverEmitsAPartOfOne) {
  StopStrings stop({"</end>", "STOP"});
  EXPECT_EQ(stop.push("hello <"), "hello ");
  EXPECT_EQ(stop.push("/e"), "");
  EXPECT_EQ(stop.push("x"), "</ex");
  EXPECT_EQ(stop.push("a ST"), "a ");
  EXPECT_EQ(stop.push("OP tail"), "");
  EXPECT_TRUE(stop.stopped());
  EXPECT_EQ(stop.push("more"), "");
  StopStrings none({"abc"});
  EXPECT_EQ(none.push("xab"), "x");
  EXPECT_EQ(none.finish(), "ab");
}

}  // namespace
}  // namespace vibee
