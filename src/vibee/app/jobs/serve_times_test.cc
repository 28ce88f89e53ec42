// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/jobs/serve_times.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace vibee {
namespace {

using testing::HasSubstr;

ServeTimes example() {
  ServeTimes t{"/models/a \"b\".gguf", "a CPU", "2026-01-01T00:00:00Z", 123, "--threads 2", {}};
  t.cost.step = {{{1, 0.004}, {16, 0.0123456789012345}}, {{1, 0}, {8, 1e-9}}, 1e-7, 3e-7};
  t.cost.start = {{{1, 0.005}}, {}, 0, 1e-7};
  t.cost.spread = {0.9, 1, 1.25};
  t.cost.stall = {0, 0, 0.004};
  t.cost.loop = {1e-4, 2e-5};
  t.cost.ask = {1e-3, 1e-6};
  t.cost.answer = {0, 3e-5};
  t.cost.ask_delays = {2e-4, 0};
  t.cost.event_delays = 1e-5;
  return t;
}

TEST(ServeTimes, AreReadAsTheyWereWritten) {
  const ServeTimes t = example();
  const auto back = parse_serve_times(serve_times_text(t), "times");
  ASSERT_TRUE(back.ok()) << back.status().message();
  EXPECT_TRUE(back->cost == t.cost);
  EXPECT_EQ(back->model, t.model);
  EXPECT_EQ(back->model_bytes, t.model_bytes);
  EXPECT_EQ(back->options, t.options);
}

TEST(ServeTimes, WhatIsWrongIsNamed) {
  const std::string good = serve_times_text(example());
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    const size_t at = text.find(from);
    EXPECT_NE(at, text.npos) << from;
    return parse_serve_times(text.replace(at, from.size(), to), "times.json").status().message();
  };
  EXPECT_THAT(with("[1, 0.004]", "[1, -0.004]"),
              HasSubstr("times.json: \"step_rows\" holds what is no number of seconds"));
  EXPECT_THAT(with("[1, 0.004]", "[1, 4000]"), HasSubstr("step_rows"));
  EXPECT_THAT(with("[1, 0.004], [16,", "[16, 0.004], [16,"), HasSubstr("by ascending rows"));
  EXPECT_THAT(with("[1, 0.004]", "[0, 0.004]"), HasSubstr("by ascending rows"));
  EXPECT_THAT(with("\"loop\": [0.0001, 2e-05]", "\"loop\": [1]"), HasSubstr("\"loop\" is not"));
  EXPECT_THAT(with("\"spread\"", "\"spreads\""), HasSubstr("\"spread\" is missing"));
  EXPECT_THAT(with("\"cpu\": \"a CPU\"", "\"cpu\": 1"), HasSubstr("\"cpu\" is missing or no text"));
  for (const char* bad : {"", "[]", "{}", "nonsense"}) EXPECT_FALSE(parse_serve_times(bad, "times.json").ok()) << bad;
}

}  // namespace
}  // namespace vibee
