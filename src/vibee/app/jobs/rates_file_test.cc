// SPDX-License-Identifier: Apache-2.0
// Rates as a file: what is written is read, and what is no file of rates is refused with what is wrong.
#include "vibee/app/jobs/rates_file.h"

#include <gtest/gtest.h>

#include "vibee/kit/flat_rates.h"

namespace vibee {
namespace {

TEST(RatesFile, KeepsEveryNumber) {
  MachineRates rates = flat_rates(1.0 / 3e9);
  rates.grids["decode q4_1"] = {{{10, 1e6}}, {1e-10, 3.3e-11}};
  const auto again = parse_rates(rates_text(rates), "r");
  ASSERT_TRUE(again.ok()) << again.status().message();
  EXPECT_EQ(again->cpu, rates.cpu);
  EXPECT_EQ(again->threads, rates.threads);
  EXPECT_EQ(again->fma_flops, rates.fma_flops);
  EXPECT_EQ(again->barrier, rates.barrier);
  EXPECT_EQ(again->grids.size(), rates.grids.size());
  EXPECT_EQ(again->grids.at("linear").rates, rates.grids["linear"].rates);
  EXPECT_EQ(again->grids.at("decode q4_1").axes, rates.grids["decode q4_1"].axes);
  EXPECT_EQ(rates_text(*again), rates_text(rates));
}

TEST(RatesFile, RefusesWhatIsNone) {
  const std::string good = rates_text(flat_rates(1e-9));
  const auto refusal = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    const size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    text.replace(at, from.size(), to);
    const Status status = parse_rates(text, "rates.json").take_status();
    EXPECT_FALSE(status.ok()) << to;
    EXPECT_EQ(status.message().find('\n'), std::string::npos);
    EXPECT_TRUE(status.message().starts_with("rates.json: ")) << status.message();
    return status.message();
  };
  EXPECT_NE(refusal("\"linear\"", "\"linear_\\n\"").find("no rate of \"linear\""), std::string::npos);
  EXPECT_NE(refusal("\"threads\": 2", "\"threads\": 0").find("threads"), std::string::npos);
  EXPECT_NE(refusal("\"seconds\": [1e-09]", "\"seconds\": [-1]").find("positive"), std::string::npos);
  EXPECT_NE(refusal("\"seconds\": [1e-09]", "\"seconds\": [1, 2]").find("2 rates for 1 points"), std::string::npos);
  EXPECT_NE(refusal("\"sizes\": [[1]]", "\"sizes\": [[2, 1]]").find("ascend"), std::string::npos);
  EXPECT_NE(refusal("\"sizes\": [[1]]", "\"sizes\": []").find("1 lists"), std::string::npos);
  EXPECT_NE(refusal("\"cpu\": \"a flat machine\"", "\"cpu\": 7").find("cpu"), std::string::npos);
  for (const std::string text : {"", "[]", "{}", "{\"cpu\": ", "null"}) EXPECT_FALSE(parse_rates(text, "x").ok());
  for (size_t cut = 0; cut < good.size(); cut += 37) EXPECT_FALSE(parse_rates(good.substr(0, cut), "x").ok());
}

}  // namespace
}  // namespace vibee
