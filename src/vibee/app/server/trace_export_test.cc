// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/server/trace_export.h"

#include <gtest/gtest.h>

#include "vibee/app/server/fields.h"

namespace vibee {
namespace {

constexpr const char* kParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

TEST(TraceParent, IsReadAsW3CHasIt) {
  const TraceParent p = parse_traceparent(kParent);
  EXPECT_EQ(p.trace, "0af7651916cd43dd8448eb211c80319c");
  EXPECT_EQ(p.span, "b7ad6b7169203331");
  EXPECT_TRUE(p.sampled);
  const std::string text = kParent;
  EXPECT_FALSE(parse_traceparent(text.substr(0, 53) + "00").sampled);
  EXPECT_FALSE(parse_traceparent("cc" + text.substr(2) + "-what-comes").trace.empty());  // a later version
  for (const std::string& wrong :
       {std::string(), text + "x", text + "-more", "ff" + text.substr(2),
        "00-" + std::string(32, '0') + text.substr(35), text.substr(0, 36) + std::string(16, '0') + text.substr(52),
        "00-" + std::string(32, 'G') + text.substr(35), text.substr(0, 54), "0x" + text.substr(2)}) {
    EXPECT_TRUE(parse_traceparent(wrong).trace.empty()) << wrong;
    EXPECT_TRUE(parse_traceparent(wrong).sampled);
  }
}

TEST(TraceExport, SpansOfARequestStandInsideIt) {
  std::mt19937_64 random(1);
  RequestTrace with, without;
  with = {"/v1/chat/completions", "m", "id-1", "ok", parse_traceparent(kParent), {}, 2, 0.5, 0.25, 1, 9, 4, 7};
  with.end = std::chrono::system_clock::time_point(std::chrono::seconds(1'800'000'000));
  without = with;
  without.parent = {};
  without.outcome = "timeout";
  without.decode_s = 0;
  const Json j = Json::parse(otlp_json({with, without}, random));
  const Json& spans = j["resourceSpans"][0]["scopeSpans"][0]["spans"];
  ASSERT_EQ(spans.size(), 4u + 3u);
  EXPECT_EQ(spans[0]["traceId"], with.parent.trace);
  EXPECT_EQ(spans[0]["parentSpanId"], with.parent.span);
  EXPECT_EQ(spans[0]["startTimeUnixNano"], "1799999998000000000");
  EXPECT_EQ(spans[0]["endTimeUnixNano"], "1800000000000000000");
  EXPECT_EQ(spans[0]["attributes"][3]["value"]["intValue"], "7");
  EXPECT_FALSE(spans[0].contains("status"));
  for (size_t i = 1; i < 4; ++i) {
    EXPECT_EQ(spans[i]["parentSpanId"], spans[0]["spanId"]);
    EXPECT_EQ(spans[i]["startTimeUnixNano"], i == 1 ? spans[0]["startTimeUnixNano"] : spans[i - 1]["endTimeUnixNano"]);
  }
  EXPECT_EQ(spans[3]["endTimeUnixNano"], "1799999999750000000");
  EXPECT_EQ(spans[4]["status"]["code"], 2);
  EXPECT_FALSE(spans[4].contains("parentSpanId"));
  EXPECT_NE(spans[4]["traceId"], spans[0]["traceId"]);
  EXPECT_EQ(spans[4]["traceId"].get<std::string>().size(), 32u);
}

TEST(TraceExport, ACollectorThatIsAwayCostsTracesAlone) {
  auto exporter = TraceExporter::start("http://127.0.0.1:9");
  ASSERT_TRUE(exporter.ok());
  for (size_t i = 0; i < TraceExporter::kMostWaiting + 10; ++i) (*exporter)->add({"r", "m", "i", "ok"});
  RequestTrace unsampled;
  unsampled.parent.sampled = false;
  (*exporter)->add(unsampled);
  while ((*exporter)->dropped() < TraceExporter::kMostWaiting + 10) std::this_thread::yield();
  EXPECT_EQ((*exporter)->sent(), 0u);
  EXPECT_FALSE(TraceExporter::start("ftp://x").ok());
}

}  // namespace
}  // namespace vibee
