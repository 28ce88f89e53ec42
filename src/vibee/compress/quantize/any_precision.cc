// SPDX-License-Identifier: Apache-2.0
#include "vibee/compress/quantize/any_precision.h"

#include <algorithm>
#include <cfloat>
#include <cmath>

#include "vibee/base/math/half.h"
#include "vibee/formats/codebook/line_means.h"

namespace vibee {
namespace {

constexpr double kMostHalf = 65504;

uint16_t half_of_mean(const LinePoints& points, uint32_t begin, uint32_t end) {
  return float_to_half(float(std::clamp(points.mean(begin, end), -kMostHalf, kMostHalf)));
}

}  // namespace

void nest_row(const float* x, uint64_t n, const float* weights, NestedWidths widths, uint8_t* codes,
              NestedTables* tables) {
  const LinePoints points(x, n, weights);
  std::vector<uint32_t> borders = points.clusters(1u << widths.seed);
  std::vector<uint16_t> values(1u << widths.seed);
  uint16_t last = 0;  // of the cluster before: that of empty ones, which are the last
  for (size_t c = 0; c < values.size(); ++c) {
    if (borders[c] < borders[c + 1]) last = half_of_mean(points, borders[c], borders[c + 1]);
    values[c] = last;
  }
  tables->assign({values});
  for (uint32_t bits = widths.seed + 1; bits <= widths.parent; ++bits) {
    std::vector<uint32_t> finer = {0};
    std::vector<uint16_t> halves;
    for (size_t c = 0; c < values.size(); ++c) {
      const uint32_t begin = borders[c], end = borders[c + 1], at = points.split(begin, end);
      halves.push_back(begin < at ? half_of_mean(points, begin, at) : values[c]);
      halves.push_back(at < end ? half_of_mean(points, at, end) : values[c]);
      finer.push_back(at);
      finer.push_back(end);
    }
    borders.swap(finer);
    values.swap(halves);
    tables->push_back(values);
  }
  std::vector<uint8_t> code(points.size());
  for (size_t c = 0; c < values.size(); ++c)
    std::fill(code.begin() + borders[c], code.begin() + borders[c + 1], uint8_t(c));
  for (uint64_t i = 0; i < n; ++i) codes[i] = code[points.point_of(i)];
}

NestedRange nest_group(const float* x, uint32_t n, uint32_t parent, uint8_t* codes) {
  const auto value = [&](uint32_t i) { return std::isfinite(x[i]) ? x[i] : 0.0f; };
  float low = value(0), high = low;
  for (uint32_t i = 1; i < n; ++i) {
    low = std::min(low, value(i));
    high = std::max(high, value(i));
  }
  const int cells = 1 << parent;
  const NestedRange range{low, high / float(cells) - low / float(cells)};
  for (uint32_t i = 0; i < n; ++i) {
    const double cell = range.cell < FLT_MIN ? 0 : (double(value(i)) - low) / range.cell;
    codes[i] = uint8_t(std::clamp(int(cell), 0, cells - 1));
  }
  return range;
}

}  // namespace vibee
