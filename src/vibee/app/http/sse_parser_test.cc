// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/http/sse_parser.h"

#include <gtest/gtest.h>

#include <vector>

namespace vibee {
namespace {

std::vector<std::string> parse(std::string_view bytes, size_t step, Status* status = nullptr, size_t limit = 1 << 20) {
  std::vector<std::string> out;
  SseParser parser(limit);
  for (size_t at = 0; at < bytes.size(); at += step) {
    const Status fed =
        parser.feed(bytes.substr(at, step), [&](const SseEvent& e) { out.push_back(e.type + "|" + e.data); });
    if (!fed.ok()) {
      if (status) *status = fed;
      break;
    }
  }
  return out;
}

TEST(SseParser, FollowsTheStandardHoweverTheBytesAreCut) {
  // The examples of the standard's section 9.2.6, line ends of all three kinds, and a byte order mark.
  const std::string stream =
      "\xEF\xBB\xBF: test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n"
      "data\n\ndata\ndata\n\nevent: add\r\ndata: 73857293\r\n\r\nevent: x\rdata: a\rdata: b\r\runknown: 1\ndatax: 2\n\n"
      "event: nothing\n\ndata: never finished\n";
  const std::vector<std::string> expected = {"|first event", "|second event", "| third event", "|",
                                             "|\n",          "add|73857293",  "x|a\nb"};
  for (size_t step = 1; step <= stream.size(); ++step) EXPECT_EQ(parse(stream, step), expected) << step;
}

TEST(SseParser, HoldsNoMoreThanItsLimit) {
  Status status;
  EXPECT_EQ(parse("data: 0123456789\n\n", 3, &status, 16).size(), 1u);
  EXPECT_TRUE(status.ok());
  parse("data: " + std::string(100, 'x'), 7, &status, 16);
  EXPECT_NE(status.message().find("longer than 16"), std::string::npos);
  status = {};
  parse("data: 0123456\ndata: 0123456\ndata: 0123456\n\n", 100, &status, 16);
  EXPECT_NE(status.message().find("larger than 16"), std::string::npos);
}

}  // namespace
}  // namespace vibee
