// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/traffic/workload.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>

#include "vibee/app/traffic/arrivals.h"
#include "vibee/app/traffic/presets.h"
#include "vibee/app/traffic/trace_file.h"

namespace vibee {
namespace {

using testing::HasSubstr;

size_t words(std::string_view text) { return text.empty() ? 0 : 1 + size_t(std::count(text.begin(), text.end(), ' ')); }
Prompts plain() { return std::move(*Prompts::create(nullptr)); }

TEST(Lengths, FollowTheirDistribution) {
  RandomStream random(1, Purpose::test);
  std::map<uint32_t, int> seen;
  const auto uniform = *parse_lengths("3-5");
  for (int i = 0; i < 30000; ++i) ++seen[uniform.draw(random)];
  ASSERT_EQ(seen.size(), 3u);
  for (const auto& [length, n] : seen) EXPECT_NEAR(n, 10000, 400) << length;
  EXPECT_EQ(parse_lengths("64")->draw(random), 64u);
  EXPECT_EQ(parse_lengths("64")->draw(random, 0.25), 16u);
  EXPECT_EQ(parse_lengths("64")->draw(random, 1e-6), 1u);
  const auto lognormal = *parse_lengths("lognormal:200,0.5");
  double sum = 0, squares = 0;
  for (int i = 0; i < 50000; ++i) {
    const double n = lognormal.draw(random);
    sum += n;
    squares += n * n;
  }
  const double mean = sum / 50000;
  EXPECT_NEAR(mean, 200, 3);
  EXPECT_NEAR(std::sqrt(squares / 50000 - mean * mean) / mean, 0.5, 0.02);
  const auto quantiles = *parse_lengths("quantiles:0=10,0.5=20,1=1000");
  int below = 0;
  for (int i = 0; i < 10000; ++i) below += quantiles.draw(random) <= 20;
  EXPECT_NEAR(below, 5000, 200);
}

TEST(Lengths, AreRefusedInOneLine) {
  for (const char* text :
       {"", "0", "-3", "5-3", "5-", "x", "1e99", "nan", "lognormal:", "lognormal:10", "lognormal:10,-1",
        "quantiles:0=1", "quantiles:0=5,1=3", "quantiles:0.1=5,1=6", "quantiles:0=5,0.5=6", "64 "}) {
    const auto lengths = parse_lengths(text);
    ASSERT_FALSE(lengths.ok()) << text;
    EXPECT_EQ(lengths.status().message().find('\n'), std::string::npos);
  }
}

TEST(Arrivals, KeepTheirRateAndTheirVariation) {
  for (const double burstiness : {0.25, 1.0, 4.0}) {
    Arrivals a;
    ASSERT_TRUE(parse_rate("8", &a).ok());
    a.burstiness = burstiness;
    const std::vector<double> t = arrival_times(a, 20000, 7);
    EXPECT_DOUBLE_EQ(t.back(), 20000 / 8.0);  // the last is due at n/rate
    double sum = 0, squares = 0, before = 0;
    for (const double at : t) {
      EXPECT_GE(at, before);
      sum += at - before;
      squares += (at - before) * (at - before);
      before = at;
    }
    const double mean = sum / 20000, cv = std::sqrt(squares / 20000 - mean * mean) / mean;
    EXPECT_NEAR(cv, 1 / std::sqrt(burstiness), 0.06) << burstiness;
    EXPECT_EQ(arrival_times(a, 20000, 7), t);
    EXPECT_NE(arrival_times(a, 20000, 8), t);
  }
  Arrivals all;
  ASSERT_TRUE(parse_rate("inf", &all).ok());
  EXPECT_EQ(arrival_times(all, 3, 1), (std::vector<double>{0, 0, 0}));
  Arrivals ramp;
  ASSERT_TRUE(parse_rate("1-9", &ramp).ok());
  const std::vector<double> t = arrival_times(ramp, 9000, 1);
  EXPECT_NEAR((t[999] - t[0]) / (t[8999] - t[8000]), 6.0, 0.9);  // about 1.5 against 8.6 requests/s
  for (const char* text : {"", "x", "0", "-1", "nan", "1-", "1-inf", "inf-2", "2 ", "1e300"})
    EXPECT_FALSE(parse_rate(text, &all).ok()) << text;
}

TEST(Workload, SharesPrefixesByZipfAndRepeatsWithItsSeed) {
  WorkloadConfig c;
  c.conversations = 4000;
  c.prefix = 20;
  c.groups = 4;
  c.zipf = 1;
  c.prompt = *parse_lengths("5-9");
  const auto made = *make_workload(c, plain(), 3);
  std::map<std::string, int> groups;
  std::set<std::string> own;
  for (const Conversation& conversation : made) {
    ++groups[conversation.shared];
    EXPECT_EQ(words(conversation.shared), 20u);
    ASSERT_EQ(conversation.turns.size(), 1u);
    const size_t n = words(conversation.turns[0].text);
    EXPECT_TRUE(n >= 5 && n <= 9) << n;
    own.insert(conversation.turns[0].text);
  }
  ASSERT_EQ(groups.size(), 4u);
  EXPECT_EQ(own.size(), 4000u);
  std::vector<int> counts;
  for (const auto& [text, n] : groups) counts.push_back(n);
  std::sort(counts.rbegin(), counts.rend());
  for (size_t k = 0; k < 4; ++k) EXPECT_NEAR(counts[k], 4000 / double(k + 1) / (1 + 0.5 + 1 / 3.0 + 0.25), 120) << k;
  EXPECT_EQ((*make_workload(c, plain(), 3))[17].turns[0].text, made[17].turns[0].text);
  EXPECT_NE((*make_workload(c, plain(), 4))[17].turns[0].text, made[17].turns[0].text);
}

TEST(Workload, ReadsTracesAndPrompts) {
  WorkloadConfig c;
  const auto azure = *parse_workload(
      "TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-11-16 18:17:04.0000000,10,4\r\n2023-11-16 18:17:03.5,6,2\n"
      "2023-11-17 00:17:03.5,6,2\n",
      "t", c, plain(), 1);
  ASSERT_EQ(azure.size(), 3u);
  EXPECT_EQ(words(azure[0].turns[0].text), 6u);
  EXPECT_EQ(azure[0].turns[0].max_tokens, 2u);
  EXPECT_DOUBLE_EQ(azure[0].at_s, 0);
  EXPECT_DOUBLE_EQ(azure[1].at_s, 0.5);
  EXPECT_DOUBLE_EQ(azure[2].at_s, 6 * 3600);
  const auto mooncake =
      *parse_workload(R"({"timestamp": 1000, "input_length": 1100, "output_length": 5, "hash_ids": [46, 47, 48]})"
                      "\n"
                      R"({"timestamp": 3500, "input_length": 1030, "output_length": 5, "hash_ids": [46, 47, 9]})",
                      "m", c, plain(), 1);
  EXPECT_DOUBLE_EQ(mooncake[1].at_s, 2.5);
  const std::string &a = mooncake[0].turns[0].text, &b = mooncake[1].turns[0].text;
  EXPECT_EQ(words(a), 1100u);
  EXPECT_EQ(words(b), 1030u);
  const size_t same = size_t(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
  EXPECT_NEAR(double(words(a.substr(0, same))), 1024, 2);
  c.length_scale = 0.125;
  EXPECT_EQ(words((*parse_workload(R"({"timestamp": 0, "input_length": 800, "output_length": 80, "hash_ids": [1, 2]})",
                                   "m", c, plain(), 1))[0]
                      .turns[0]
                      .text),
            100u);
  c.length_scale = 1;
  c.conversations = 2;
  const auto prompts = *parse_workload(
      "{\"prompt\": \"hello\", \"max_tokens\": 3}\n\n{\"messages\": [{\"role\": \"system\", \"content\": \"s\"}, "
      "{\"role\": \"user\", \"content\": \"u\"}]}\n{\"prompt\": \"a third\"}\n",
      "p", c, plain(), 1);
  ASSERT_EQ(prompts.size(), 2u);
  EXPECT_EQ(prompts[0].turns[0].max_tokens, 3u);
  EXPECT_EQ(prompts[1].turns.size(), 2u);
  EXPECT_EQ(prompts[1].turns[0].role, "system");
  EXPECT_EQ(prompts[1].turns[0].max_tokens, 0u);
  EXPECT_EQ(prompts[1].turns[1].max_tokens, 64u);
}

TEST(Workload, RefusesBrokenFilesByLine) {
  const std::string csv = "TIMESTAMP,ContextTokens,GeneratedTokens\n";
  for (const std::string& text :
       {std::string(),
        csv,
        csv + "x",
        csv + "2023-13-16 18:17:03,1,2",
        csv + "2023-11-16 18:17:03,1",
        csv + "1,0,5",
        csv + "1,5,99999999999999999999",
        csv + "nan,1,1",
        std::string("{"),
        std::string("[]"),
        std::string("{}"),
        std::string("\xff\xfe"),
        std::string(R"({"prompt": 3})"),
        std::string(R"({"messages": []})"),
        std::string(R"({"messages": [{"role": "user"}]})"),
        std::string(R"({"prompt": "x", "max_tokens": -1})"),
        std::string(R"({"timestamp": 0, "input_length": 600, "output_length": 1, "hash_ids": [1]})"),
        std::string(R"({"timestamp": 0, "input_length": 1, "output_length": 1, "hash_ids": ["x"]})"),
        std::string(R"({"input_length": 1, "output_length": 1})"),
        std::string(100000, '[')}) {
    const auto made = parse_workload(text, "file.x", {}, plain(), 1);
    ASSERT_FALSE(made.ok()) << text.substr(0, 80);
    EXPECT_THAT(made.status().message(), HasSubstr("file.x"));
    EXPECT_EQ(made.status().message().find('\n'), std::string::npos);
  }
  const auto second = parse_workload("{\"prompt\": \"x\"}\n{\"prompt\": 1}\n", "f", {}, plain(), 1);
  EXPECT_THAT(second.status().message(), HasSubstr("f, line 2"));
  WorkloadConfig huge;
  huge.length_scale = 1e6;  // the limit counts what is to be made, before it is made
  const std::string line = R"({"timestamp": 0, "input_length": 16000000, "output_length": 1})";
  EXPECT_THAT(parse_workload(line, "f", huge, plain(), 1).status().message(), HasSubstr("--length-scale"));
}

TEST(Presets, AreWhatTheirNamesStandFor) {
  for (const Preset& preset : all_presets()) {
    TrafficConfig c = preset.make();
    EXPECT_FALSE(c.parts.empty()) << preset.id;
    for (PartConfig& part : c.parts) {
      part.workload.conversations = std::min(part.workload.conversations, 8u);
      const auto made = make_workload(part.workload, plain(), 1);
      ASSERT_TRUE(made.ok()) << preset.id;
      EXPECT_FALSE(made->empty());
    }
  }
  const TrafficConfig w32 = (*find_preset("W-32"))->make();
  const auto made = *make_workload(w32.parts[0].workload, plain(), 1);
  EXPECT_EQ(made.size(), 160u);
  EXPECT_EQ(words(made[5].shared), 150u);
  EXPECT_EQ(words(made[5].turns[0].text), 30u);
  EXPECT_EQ(w32.parts[0].arrivals.clients, 32u);
  EXPECT_THAT(find_preset("W-33").status().message(), HasSubstr("W-agent"));
}

}  // namespace
}  // namespace vibee
