// SPDX-License-Identifier: Apache-2.0
// The page of a run: its table, distributions of latencies and a timeline of the requests, drawn as SVG.
#include <algorithm>
#include <cmath>

#include "vibee/app/traffic/report.h"
#include "vibee/base/text/xml_escape.h"

namespace vibee {
namespace {

constexpr size_t kMostRows = 1500;  // requests of the timeline; a larger run shows every n-th

/// Bars over bins of equal ratio: latencies spread over decades.
std::string histogram(const char* title, std::vector<double> seconds) {
  std::erase_if(seconds, [](double s) { return !(s > 0); });
  if (seconds.empty()) return "";
  constexpr int kBins = 48, kWidth = 460, kHeight = 150;
  const auto [least, most] = std::minmax_element(seconds.begin(), seconds.end());
  const double low = std::log10(*least), span = std::max(1e-3, std::log10(*most) - low);
  std::vector<size_t> bins(kBins);
  for (const double s : seconds) ++bins[size_t(std::clamp(int((std::log10(s) - low) / span * kBins), 0, kBins - 1))];
  const size_t tallest = *std::max_element(bins.begin(), bins.end());
  std::string out =
      fmt::format("<figure><figcaption>{}: {} values, ms, log scale</figcaption><svg width=\"{}\" height=\"{}\">",
                  title, seconds.size(), kWidth, kHeight + 20);
  const auto edge = [&](int bin) { return 1e3 * std::pow(10, low + span * bin / kBins); };
  for (int i = 0; i < kBins; ++i) {
    const double h = double(bins[size_t(i)]) / double(tallest) * kHeight;
    out += fmt::format(
        "<rect class=\"bar\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\"><title>{:.2f} to {:.2f} ms: "
        "{}</title></rect>",
        double(i) * kWidth / kBins, kHeight - h, double(kWidth) / kBins - 1, h, edge(i), edge(i + 1), bins[size_t(i)]);
  }
  for (int i = 0; i <= 4; ++i)
    out += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"{}\">{:.3g}</text>", i * kWidth / 4, kHeight + 15,
                       i == 0   ? "start"
                       : i == 4 ? "end"
                                : "middle",
                       edge(i * kBins / 4));
  return out + "</svg></figure>";
}

/// One line a request: pale while it waits for its first token, full while tokens come, red where a gap is far longer
/// than most or the request failed.
std::string timeline(const TrafficReport& r) {
  const std::vector<RequestRecord>& records = r.run.records;
  if (records.empty()) return "";
  const size_t step = (records.size() + kMostRows - 1) / kMostRows, rows = (records.size() + step - 1) / step;
  constexpr double kWidth = 960;
  const double height = std::clamp(900.0 / double(rows), 1.5, 12.0);
  double last = 1e-9;
  for (const RequestRecord& q : records) last = std::max(last, q.end_s);
  const auto x = [&](double s) { return s / last * kWidth; };
  std::string out = fmt::format(
      "<figure><figcaption>{} of {} requests over {:.2f} s: waiting, answering, gaps above p99 of ITL</figcaption>"
      "<svg width=\"{}\" height=\"{:.0f}\">",
      rows, records.size(), last, kWidth, double(rows) * height + 20);
  size_t row = 0;
  const auto rect = [&](const char* style, double from, double to, const std::string& title) {
    out += fmt::format(
        "<rect class=\"{}\" x=\"{:.2f}\" y=\"{:.2f}\" width=\"{:.2f}\" height=\"{:.2f}\"><title>{}</title></rect>",
        style, x(from), double(row) * height, std::max(0.5, x(to) - x(from)), height * 0.8, xml_escape(title));
  };
  for (size_t i = 0; i < records.size(); i += step, ++row) {
    const RequestRecord& q = records[i];
    const std::string name = fmt::format("conversation {} turn {}", q.conversation, q.turn);
    if (q.failed()) {
      rect("bad", q.sent_s, q.end_s, name + ": " + q.error);
      continue;
    }
    if (q.pieces.empty()) {
      rect("wait", q.sent_s, q.end_s, name + ": cancelled");
      continue;
    }
    rect("wait", q.sent_s, q.pieces.front().at_s, fmt::format("{}: first token after {:.1f} ms", name, 1e3 * q.ttft()));
    rect("flow", q.pieces.front().at_s, q.pieces.back().at_s,
         fmt::format("{}: {} tokens, {:.2f} ms a token", name, q.output_tokens, 1e3 * q.tpot()));
    for (size_t k = 1; k < q.pieces.size(); ++k) {
      const double gap = q.pieces[k].at_s - q.pieces[k - 1].at_s;
      if (gap > r.all.itl.p99 && gap > 2 * r.all.itl.p50)
        rect("bad", q.pieces[k - 1].at_s, q.pieces[k].at_s, fmt::format("{}: a gap of {:.1f} ms", name, 1e3 * gap));
    }
  }
  for (int i = 0; i <= 8; ++i)
    out += fmt::format("<text x=\"{:.0f}\" y=\"{:.0f}\" text-anchor=\"{}\">{:.1f} s</text>", kWidth * i / 8,
                       double(rows) * height + 15,
                       i == 0   ? "start"
                       : i == 8 ? "end"
                                : "middle",
                       last * i / 8);
  return out + "</svg></figure>";
}

}  // namespace

std::string report_html(const TrafficReport& r) {
  std::vector<double> ttft, tpot, itl, e2el;
  for (const RequestRecord& q : r.run.records) {
    for (size_t k = 1; k < q.pieces.size(); ++k) itl.push_back(q.pieces[k].at_s - q.pieces[k - 1].at_s);
    if (!q.completed()) continue;
    ttft.push_back(q.ttft());
    e2el.push_back(q.e2el());
    if (q.output_tokens > 1) tpot.push_back(q.tpot());
  }
  std::string out =
      "<!DOCTYPE html><html lang=\"en\"><meta charset=\"utf-8\"><title>vibee bench serve</title><style>"
      "body{font:15px sans-serif;max-width:980px;margin:2em "
      "auto;color:#222;background:#fff}pre{background:#f4f4f4;padding:1em;"
      "overflow:auto}figure{display:inline-block;margin:1em 1em 1em "
      "0}figcaption{margin-bottom:.4em}text{font-size:11px;fill:#555}"
      ".bar,.flow{fill:#3b6ea5}.wait{fill:#c9d7e6}.bad{fill:#c0392b}</style>";
  out += fmt::format("<h1>{}: {}</h1><p>{}, {}</p><pre>{}</pre>", xml_escape(r.workload), xml_escape(r.model),
                     xml_escape(r.url), xml_escape(r.date), xml_escape(report_text(r)));
  out += histogram("Time to first token", std::move(ttft)) + histogram("Gaps between tokens", std::move(itl)) +
         histogram("Time a token", std::move(tpot)) + histogram("Whole answer", std::move(e2el));
  return out + timeline(r) + "</html>\n";
}

}  // namespace vibee
