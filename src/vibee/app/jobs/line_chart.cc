// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/jobs/line_chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>

#include "vibee/base/text/xml_escape.h"

namespace vibee {
namespace {

constexpr double kWidth = 460, kHeight = 240, kLeft = 52, kRight = 10, kTop = 10, kBottom = 24;
constexpr size_t kMostPoints = 600;

using Points = std::vector<std::pair<double, double>>;

/// Means of bins of neighbours; a bin without a finite value is one that is not.
Points thinned(const Points& points) {
  if (points.size() <= kMostPoints) return points;
  Points out;
  for (size_t b = 0; b < kMostPoints; ++b) {
    double x = 0, y = 0, n = 0;
    for (size_t i = b * points.size() / kMostPoints; i < (b + 1) * points.size() / kMostPoints; ++i) {
      if (!std::isfinite(points[i].second)) continue;
      x += points[i].first, y += points[i].second, ++n;
    }
    out.emplace_back(n > 0 ? x / n : points[b * points.size() / kMostPoints].first, y / n);
  }
  return out;
}

/// 1, 2 or 5 times a power of ten, so that about `parts` of them make `span`.
double round_step(double span, int parts) {
  const double raw = span / parts, power = std::pow(10, std::floor(std::log10(raw)));
  for (const double m : {1.0, 2.0, 5.0})
    if (raw <= m * power) return m * power;
  return 10 * power;
}

struct Axis {
  double low = std::numeric_limits<double>::infinity(), high = -low;
  void hold(double v) { low = std::min(low, v), high = std::max(high, v); }
  void widen() {
    if (!(low <= high)) low = 0, high = 1;
    if (high - low <= 1e-12 * std::abs(high))
      low -= std::max(1e-12, std::abs(low) / 10), high += std::max(1e-12, std::abs(high) / 10);
  }
  double part(double v) const { return (v - low) / (high - low); }
};

/// Where lines go across: round numbers, of a logarithmic axis 1, 2 and 5 times powers of ten where two of them fit.
std::vector<double> ticks(const Axis& axis, bool log) {
  std::vector<double> out;
  for (int power = int(std::floor(axis.low)); log && power <= int(axis.high) && power < axis.low + 20; ++power)
    for (const double m : {1.0, 2.0, 5.0})
      if (const double v = power + std::log10(m); v >= axis.low && v <= axis.high) out.push_back(v);
  if (out.size() >= 2) return out;
  out.clear();
  const double step = round_step(axis.high - axis.low, 5);
  for (int64_t i = std::llround(std::ceil(axis.low / step)); double(i) * step <= axis.high; ++i)
    out.push_back(double(i) * step);
  return out;
}

}  // namespace

std::string line_chart(std::string_view title, std::span<const ChartSeries> series, bool log_y) {
  Axis x, y;
  std::vector<Points> curves;
  for (const ChartSeries& s : series) {
    curves.push_back(thinned(s.points));
    for (auto& [at, value] : curves.back()) {
      if (log_y) value = value > 0 ? std::log10(value) : std::numeric_limits<double>::quiet_NaN();
      if (!std::isfinite(value)) continue;
      x.hold(at), y.hold(value);
    }
  }
  x.widen(), y.widen();
  const auto px = [&](double v) { return kLeft + x.part(v) * (kWidth - kLeft - kRight); };
  const auto py = [&](double v) { return kHeight - kBottom - y.part(v) * (kHeight - kTop - kBottom); };
  std::string out =
      fmt::format("<figure><figcaption>{}</figcaption><svg width=\"{}\" height=\"{}\" role=\"img\" aria-label=\"{}\">",
                  xml_escape(title), kWidth, kHeight, xml_escape(title));
  const double x_step = round_step(x.high - x.low, 5);
  for (const double v : ticks(y, log_y)) {
    const double shown = log_y ? std::pow(10, v) : v;
    fmt::format_to(std::back_inserter(out),
                   "<line class=\"grid\" x1=\"{}\" x2=\"{}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/><text x=\"{}\" y=\"{:.1f}\" "
                   "text-anchor=\"end\">{}</text>",
                   kLeft, kWidth - kRight, py(v), py(v), kLeft - 4, py(v) + 4,
                   std::abs(shown) < 1e6 ? fmt::format("{:.6g}", shown) : fmt::format("{:.3g}", shown));
  }
  for (double v = std::ceil(x.low / x_step) * x_step; v <= x.high; v += x_step)
    fmt::format_to(std::back_inserter(out), "<text x=\"{:.1f}\" y=\"{}\" text-anchor=\"middle\">{:g}</text>", px(v),
                   kHeight - 6, v);
  for (size_t s = 0; s < curves.size(); ++s) {
    std::string path;
    bool pen = false;
    for (const auto& [at, value] : curves[s]) {
      if (!std::isfinite(value)) {
        pen = false;
        continue;
      }
      fmt::format_to(std::back_inserter(path), "{}{:.1f} {:.1f}", pen ? "L" : "M", px(at), py(value));
      pen = true;
    }
    if (curves[s].size() == 1) path += "h2";  // a point is seen
    fmt::format_to(std::back_inserter(out), "<path class=\"curve curve{}\" d=\"{}\"/>", s % 3, path);
    if (curves.size() > 1)
      fmt::format_to(std::back_inserter(out), "<text class=\"key{}\" x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
                     s % 3, kWidth - kRight - 4, kTop + 12 + 14 * double(s), xml_escape(series[s].name));
  }
  return out + "</svg></figure>";
}

}  // namespace vibee
