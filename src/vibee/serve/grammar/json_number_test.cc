// SPDX-License-Identifier: Apache-2.0
#include "vibee/serve/grammar/json_number.h"

#include <gtest/gtest.h>

#include "vibee/serve/grammar/automata.h"

namespace vibee {
namespace {

bool accepts(const Automata& automata, uint32_t state, std::string_view text) {
  for (const char c : text) {
    if (state == Automata::kDead) return false;
    state = automata.step(state, uint8_t(c));
  }
  return state != Automata::kDead && automata.accepting(state);
}

TEST(JsonNumber, BoundsAreThoseOfTheValues) {
  std::vector<std::string> texts;
  for (int whole = 0; whole <= 130; ++whole) {
    texts.push_back(std::to_string(whole));
    for (int f = 0; f < 100; f += whole % 10 == 0 || whole % 10 == 9 ? 1 : 7) {
      texts.push_back(fmt::format("{}.{:02}", whole, f));
      if (f < 10) texts.push_back(fmt::format("{}.{}", whole, f));
    }
  }
  for (const char* low : {"", "0", "-0.5", "9.5", "-10", "-99.25", "10", "0.07"}) {
    for (const char* high : {"", "0", "0.5", "-1", "99", "100", "10.05", "119.99"}) {
      for (const bool open : {false, true}) {
        NumberRule rule;
        if (*low) rule.low = Bound{*parse_decimal(low), open};
        if (*high) rule.high = Bound{*parse_decimal(high), open};
        Regular regular;
        Automata automata(ByteSet().set());
        const auto state = automata.add(regular, json_number(regular, rule));
        ASSERT_TRUE(state.ok()) << state.status().message();
        for (const std::string& size : texts) {
          for (const bool negative : {false, true}) {
            const double value = (negative ? -1 : 1) * std::stod(size);
            if (negative && value == 0) continue;  // -0 may be left out
            const bool above = !*low || (open ? value > std::stod(low) : value >= std::stod(low));
            const bool below = !*high || (open ? value < std::stod(high) : value <= std::stod(high));
            const std::string text = (negative ? "-" : "") + size;
            const bool got = *state != Automata::kDead && accepts(automata, *state, text);
            ASSERT_EQ(got, above && below) << text << " in " << low << " to " << high << (open ? ", open" : "");
          }
        }
      }
    }
  }
}

TEST(JsonNumber, MultiplesAndWholeNumbers) {
  for (const uint32_t modulus : {1u, 2u, 7u, 12u, 100u}) {
    NumberRule rule;
    rule.integer = true;
    rule.modulus = modulus;
    rule.low = Bound{*parse_decimal("-50"), false};
    Regular regular;
    Automata automata(ByteSet().set());
    const auto state = automata.add(regular, json_number(regular, rule));
    ASSERT_TRUE(state.ok());
    for (int i = -120; i < 1200; ++i)
      ASSERT_EQ(accepts(automata, *state, std::to_string(i)), i >= -50 && i % int(modulus) == 0) << i;
    EXPECT_FALSE(accepts(automata, *state, "0.0"));
    EXPECT_FALSE(accepts(automata, *state, "00"));
  }
}

TEST(JsonNumber, DecimalsAreWrittenOut) {
  for (const auto& [text, plain] : std::vector<std::pair<const char*, const char*>>{{"1e3", "1000"},
                                                                                    {"-1.50", "-1.5"},
                                                                                    {"1.5e-3", "0.0015"},
                                                                                    {"0.000", "0"},
                                                                                    {"-0", "0"},
                                                                                    {"12.25e1", "122.5"},
                                                                                    {"100", "100"},
                                                                                    {"1E+2", "100"}})
    EXPECT_EQ(parse_decimal(text)->text(), plain);
  EXPECT_FALSE(parse_decimal("1e999"));
}

}  // namespace
}  // namespace vibee
