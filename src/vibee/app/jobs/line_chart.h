// SPDX-License-Identifier: Apache-2.0
// Curves as an SVG for pages that are files of their own.
#pragma once

#include <span>
#include <string>
#include <utility>
#include <vector>

namespace vibee {

struct ChartSeries {
  std::string name;
  std::vector<std::pair<double, double>> points;  ///< x ascending; what is not finite leaves a gap
};

/// A figure of 460 x 240 whose axes hold all points; more than 600 points of a series are means of as many bins.
/// `log_y`: a logarithmic axis, where all values are above 0. Its classes are styled by kChartStyle.
std::string line_chart(std::string_view title, std::span<const ChartSeries> series, bool log_y = false);

inline constexpr std::string_view kChartStyle =
    "figure{display:inline-block;margin:1em 1em 1em 0}figcaption{margin-bottom:.4em}"
    "svg text{font-size:11px;fill:#555}.grid{stroke:#ddd}.curve{fill:none;stroke-width:1.5}"
    ".curve0{stroke:#3b6ea5}.curve1{stroke:#c0392b}.curve2{stroke:#5a9e4b}"
    ".key0{fill:#3b6ea5!important}.key1{fill:#c0392b!important}.key2{fill:#5a9e4b!important}";

}  // namespace vibee
