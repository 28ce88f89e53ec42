// SPDX-License-Identifier: Apache-2.0
#include "vibee/base/text/json_quote.h"

#include <gtest/gtest.h>

#include <limits>

namespace vibee {
namespace {

TEST(JsonQuote, EscapesWhatJsonMustEscape) {
  EXPECT_EQ(json_quote(""), "\"\"");
  EXPECT_EQ(json_quote("a\"b\\c"), "\"a\\\"b\\\\c\"");
  EXPECT_EQ(json_quote("1\n2\t3\r"), "\"1\\n2\\t3\\r\"");
  EXPECT_EQ(json_quote(std::string_view("\0\x1f\x7f", 3)), "\"\\u0000\\u001f\\u007f\"");
}

TEST(JsonQuote, KeepsUtf8AndReplacesEverythingElse) {
  EXPECT_EQ(json_quote("\u00e9\u20ac\U0001F41D"), "\"\u00e9\u20ac\U0001F41D\"");
  const std::string bad = "\"\xEF\xBF\xBD\"", twice = "\"\xEF\xBF\xBD\xEF\xBF\xBD\"";
  EXPECT_EQ(json_quote("\xff"), bad);
  EXPECT_EQ(json_quote("\xc0\xaf"), twice);                                           // overlong
  EXPECT_EQ(json_quote("\xe2\x82"), twice);                                           // cut off
  EXPECT_EQ(json_quote("\xed\xa0\x80"), "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\"");  // surrogate
  EXPECT_EQ(json_quote("\xe2\x41"),
            "\"\xEF\xBF\xBD"
            "A\"");
}

TEST(JsonNumber, ReadsBackTheSame) {
  EXPECT_EQ(json_number(0.1), "0.1");
  EXPECT_EQ(std::stod(json_number(1.0 / 3)), 1.0 / 3);
  EXPECT_EQ(json_number(std::numeric_limits<double>::infinity()), "null");
  EXPECT_EQ(json_number(std::numeric_limits<double>::quiet_NaN()), "null");
}

}  // namespace
}  // namespace vibee
