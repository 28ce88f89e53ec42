// SPDX-License-Identifier: Apache-2.0
#include "vibee/graph/pass/overlap_compute_comm.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace vibee {
namespace {

/// The same times without overlaps, in order.
std::vector<TimeSpan> merged(std::vector<TimeSpan> spans) {
  std::sort(spans.begin(), spans.end(), [](const TimeSpan& a, const TimeSpan& b) { return a.begin < b.begin; });
  std::vector<TimeSpan> out;
  for (const TimeSpan span : spans) {
    if (!out.empty() && span.begin <= out.back().end) {
      out.back().end = std::max(out.back().end, span.end);
    } else {
      out.push_back(span);
    }
  }
  return out;
}

}  // namespace

double hidden_share(std::vector<TimeSpan> compute, std::vector<TimeSpan> communicate) {
  compute = merged(std::move(compute));
  communicate = merged(std::move(communicate));
  double whole = 0, hidden = 0;
  for (const TimeSpan a : communicate) {
    whole += a.end - a.begin;
    for (const TimeSpan b : compute) hidden += std::max(0.0, std::min(a.end, b.end) - std::max(a.begin, b.begin));
  }
  return whole > 0 ? hidden / whole : 0;
}

std::string overlap_svg(const std::vector<TimeSpan>& compute, const std::vector<TimeSpan>& communicate) {
  double begin = compute.empty() ? 0 : compute[0].begin, end = begin;
  for (const auto* spans : {&compute, &communicate})
    for (const TimeSpan span : *spans) {
      begin = std::min(begin, span.begin);
      end = std::max(end, span.end);
    }
  const double scale = 820 / std::max(end - begin, 1e-9);
  std::string svg =
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 960 150\" font-family=\"sans-serif\" font-size=\"13\">\n"
      "<rect width=\"960\" height=\"150\" fill=\"#fff\"/>\n";
  const auto lane = [&](const char* name, const std::vector<TimeSpan>& spans, int y, const char* colour) {
    fmt::format_to(std::back_inserter(svg), "<text x=\"10\" y=\"{}\">{}</text>\n", y + 20, name);
    for (const TimeSpan span : spans)
      fmt::format_to(std::back_inserter(svg),
                     "<rect x=\"{:.2f}\" y=\"{}\" width=\"{:.2f}\" height=\"30\" fill=\"{}\" fill-opacity=\"0.6\" "
                     "stroke=\"#333\"><title>{:.2f} to {:.2f} ms</title></rect>\n",
                     125 + (span.begin - begin) * scale, y, std::max(0.5, (span.end - span.begin) * scale), colour,
                     1e3 * (span.begin - begin), 1e3 * (span.end - begin));
  };
  lane("compute", compute, 15, "#4c78a8");
  lane("communicate", communicate, 60, "#f58518");
  fmt::format_to(std::back_inserter(svg),
                 "<text x=\"125\" y=\"125\">{:.2f} ms; {:.0f} % of the communication is hidden</text>\n</svg>\n",
                 1e3 * (end - begin), 100 * hidden_share(compute, communicate));
  return svg;
}

}  // namespace vibee
