// SPDX-License-Identifier: Apache-2.0
#include "vibee/compress/quantize/quanto.h"

#include <algorithm>
#include <cmath>

#include "vibee/base/text/quote.h"
#include "vibee/compress/quantize/each_row.h"
#include "vibee/compress/quantize/hqq_search.h"
#include "vibee/formats/float/minifloat.h"

namespace vibee {
namespace {

constexpr QuantoType kTypes[] = {{"qint2", "qint2", 2, false},
                                 {"qint4", "qint4", 4, false},
                                 {"qint8", "qint8", 8, false},
                                 {"qfloat8", "qfloat8_e4m3fn", 8, true}};
constexpr float kLargestE4m3 = 448;

/// A row of 8-bit codes behind the scale that is returned.
float bytes_of(std::span<const float> row, bool floats, RoundTo rounded, uint8_t* codes) {
  float most = 0;
  for (const float x : row) most = std::max(most, std::fabs(x));
  const float scale = rounded(most / (floats ? kLargestE4m3 : 127.0f));
  for (size_t i = 0; i < row.size(); ++i) {
    const float x = rounded(row[i] / scale);
    if (std::isnan(x)) {  // a row of zeros, of which the package would make floats that are no numbers
      codes[i] = 0;
    } else if (floats) {
      codes[i] = uint8_t(E4m3::encode(std::clamp(x, -kLargestE4m3, kLargestE4m3)));
    } else {
      codes[i] = uint8_t(int8_t(std::clamp(std::nearbyint(x), -128.0f, 127.0f)));
    }
  }
  return scale;
}

}  // namespace

Result<QuantoType> find_quanto_type(std::string_view scheme) {
  std::string known;
  for (const QuantoType& t : kTypes) {
    if (t.scheme == scheme) return t;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", t.scheme);
  }
  return error(Code::invalid, "--scheme quanto:{}: one of {}", quote(scheme, 40), known);
}

std::vector<std::string> quanto_types() {
  std::vector<std::string> out;
  for (const QuantoType& t : kTypes) out.push_back(fmt::format("quanto:{}", t.scheme));
  return out;
}

uint64_t quanto_group(uint64_t k) {
  if (k <= 128) return k;
  for (const uint64_t group : {128, 96, 64, 32})
    if (k % group == 0) return group;
  return k;
}

QuantoMatrix quanto_quantize(std::span<const float> w, uint64_t k, const QuantoType& quanto, Format type, bool hqq,
                             Team* team) {
  const RoundTo rounded = round_to(type);
  QuantoMatrix out;
  if (quanto.bits == 8) {
    out.codes.resize(w.size());
    out.scale.resize(w.size() / k);
    each_row(out.scale.size(), team, [&](uint64_t r) {
      out.scale[r] = bytes_of(w.subspan(r * k, k), quanto.floats, rounded, out.codes.data() + r * k);
    });
    return out;
  }
  const uint64_t group = quanto_group(k), groups = w.size() / group, a_byte = 8 / quanto.bits;
  const uint64_t rows = (groups + a_byte - 1) / a_byte;
  const uint32_t most = (1u << quanto.bits) - 1;
  out.codes.resize(rows * group);
  out.scale.resize(groups);
  out.shift.resize(groups);
  each_row(rows, team, [&](uint64_t row) {  // the groups of a row of bytes
    for (uint64_t g = row, at = 0; g < groups; g += rows, at += quanto.bits) {
      const std::span<const float> from = w.subspan(g * group, group);
      const auto [low, high] = std::minmax_element(from.begin(), from.end());
      const ShiftedGrid grid{rounded(rounded(*high - *low) / float(most)), most, rounded};
      const float shift = hqq ? hqq_shift(from, grid, -*low) : -*low;
      for (uint64_t i = 0; i < group; ++i)
        out.codes[row * group + i] = uint8_t(out.codes[row * group + i] | grid.code(from[i], shift) << at);
      out.scale[g] = grid.scale;
      out.shift[g] = shift;
    }
  });
  return out;
}

}  // namespace vibee
