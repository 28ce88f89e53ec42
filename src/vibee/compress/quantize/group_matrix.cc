// SPDX-License-Identifier: Apache-2.0
#include "vibee/compress/quantize/group_matrix.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>

#include "vibee/base/math/half.h"
#include "vibee/formats/float/nf4_quantization.h"

namespace vibee {
namespace {

/// Columns whose errors are kept before those behind them hear of it; groups of 32, 64 and 128 divide it.
constexpr uint64_t kLazyColumns = 128;
constexpr int kShrinks = 16;
constexpr float kShrinkStep = 0.02f;

/// To the nearest whole number, ties to even; |x| below 2^22.
float nearest(float x) {
  constexpr float kMagic = 12582912.0f;  // 3 * 2^22
  return (x + kMagic) - kMagic;
}

/// A scale as its type keeps it, never zero; infinite where it is too large.
float kept(float scale, Format type) {
  if (type == Format::f16) {
    const uint16_t half = float_to_half(scale);
    return half_to_float(half == 0 ? 1 : half);
  }
  scale = std::max(scale, FLT_MIN);
  return type == Format::bf16 ? bf16_to_float(float_to_bf16(scale)) : scale;
}

/// The values scale * level that a group has, `zero` of them below zero.
struct Grid {
  float scale = 1;
  uint32_t zero = 0, most = 15;
  float level(float w, float inverse) const {
    return nearest(std::min(std::max(-float(zero), w * inverse), float(most - zero)));
  }
};

/// The sum of squared errors, each times its column's weight; all weights are one where there are none.
double error_of(const Grid& grid, std::span<const float> w, const float* weights) {
  const float inverse = 1 / grid.scale;
  float sum = 0;
  for (size_t i = 0; i < w.size(); ++i) {
    const float off = w[i] - grid.level(w[i], inverse) * grid.scale;
    sum += (weights ? weights[i] : 1.0f) * off * off;
  }
  return sum;
}

Grid choose(const GroupScheme& scheme, std::span<const float> w, const float* weights) {
  float low = 0, high = 0;
  for (const float x : w) low = std::min(low, x), high = std::max(high, x);
  Grid grid;
  grid.most = (1u << scheme.bits) - 1;
  float whole = 0;
  if (scheme.symmetric) {
    grid.zero = 1u << (scheme.bits - 1);
    whole = std::max(high, -low) / float(grid.most - grid.zero);
  } else {
    whole = (high / float(grid.most)) - (low / float(grid.most));
    const float zero = whole > 0 ? nearest(-low / whole) : 0;
    grid.zero = std::clamp(uint32_t(zero), scheme.least_zero, grid.most);
    if (grid.zero < grid.most) whole = std::max(whole, high / float(grid.most - grid.zero));
  }
  double least = INFINITY;
  float best = kept(whole, scheme.type);
  for (int i = 0; i < kShrinks; ++i) {
    grid.scale = kept(whole * (1 - kShrinkStep * float(i)), scheme.type);
    if (!std::isfinite(grid.scale)) break;  // the whole is asked for: the caller says so
    const double error = error_of(grid, w, weights);
    if (!(error < least)) continue;
    least = error;
    best = grid.scale;
  }
  grid.scale = best;
  return grid;
}

class Solve {
 public:
  Solve(std::span<float> rows, const GroupScheme& scheme, const GptqFactor* factor, Isa isa, GroupMatrix* out)
      : rows_(rows), scheme_(scheme), factor_(factor), out_(*out) {
    if (factor_ == nullptr) return;
    for (uint64_t at = 0; at < out_.k; at += kLazyColumns)
      behind_.emplace_back(*factor_, uint32_t(at), uint32_t(std::min(out_.k, at + kLazyColumns)), isa);
    for (uint32_t j = 0; j < out_.k; ++j) {
      const float u = factor_->row(j)[j];
      weights_.push_back(factor_->dead(j) ? 0.0f : 1 / (u * u));
    }
  }

  void slice(uint64_t first, uint64_t end) const {
    std::vector<float> errors(factor_ ? kGptqRows * kLazyColumns : 0);
    std::vector<Grid> grids(end - first);
    std::vector<uint8_t> memory;
    const uint64_t k = out_.k, groups = k / out_.group;
    for (uint64_t at = 0; at < k; at += kLazyColumns) {
      const uint64_t last = std::min(k, at + kLazyColumns);
      for (uint64_t r = first; r < end; ++r) {
        float* const w = rows_.data() + r * k;
        Grid& grid = grids[r - first];
        for (uint64_t j = at; j < last; ++j) {
          if (j % out_.group == 0) {
            grid = choose(scheme_, {w + j, out_.group}, factor_ ? weights_.data() + j : nullptr);
            out_.scales[r * groups + j / out_.group] = grid.scale;
            out_.zeros[r * groups + j / out_.group] = uint8_t(grid.zero);
          }
          const float level = factor_ && factor_->dead(uint32_t(j)) ? 0.0f : grid.level(w[j], 1 / grid.scale);
          out_.codes[r * k + j] = uint8_t(level + float(grid.zero));
          if (factor_)
            errors[(r - first) * (last - at) + (j - at)] =
                gptq_column(*factor_, uint32_t(j), uint32_t(last), level * grid.scale, w);
        }
      }
      if (factor_) behind_[at / kLazyColumns].apply(rows_.subspan(first * k, (end - first) * k), errors, &memory);
    }
  }

 private:
  std::span<float> rows_;
  const GroupScheme& scheme_;
  const GptqFactor* factor_;
  GroupMatrix& out_;
  std::vector<GptqBehind> behind_;
  std::vector<float> weights_;  // of columns
};

}  // namespace

bool holds_codes(Format format, const GroupScheme& scheme) {
  if (scheme.table) return format == *scheme.table;
  const bool bytes = format == Format::i8s32 || format == Format::i8s64 || format == Format::i8s128;
  const bool nibbles = format == Format::i4z32 || format == Format::i4z64 || format == Format::i4z128;
  return scheme.bits == 8 ? bytes : nibbles;
}

GroupMatrix group_matrix(Format format, std::span<const uint8_t> bytes, uint64_t k, const GroupScheme& scheme) {
  VIBEE_CHECK(holds_codes(format, scheme), "{}", info(format).name);
  const NumericFormat& f = info(format);
  GroupMatrix out;
  out.n = bytes.size() / f.row_bytes(k), out.k = k, out.group = scheme.group == 0 ? k : scheme.group;
  out.codes.resize(out.n * k);
  const uint64_t unit = f.block_elems;
  VIBEE_CHECK(out.group % unit == 0 && k % out.group == 0, "groups of {} in {} of {}", out.group, k, unit);
  const uint8_t* in = bytes.data();
  for (uint64_t at = 0; at < out.n * k; at += unit) {
    const bool first = at % k % out.group == 0;  // what follows of the group says the same
    float scale;
    std::memcpy(&scale, in, 4);
    in += 4;
    if (first) out.scales.push_back(scale);
    if (scheme.bits == 8) {
      if (first) out.zeros.push_back(128);
      for (uint64_t i = 0; i < unit; ++i) out.codes[at + i] = *in++ ^ 0x80;
      continue;
    }
    if (!scheme.table) {
      if (first) out.zeros.push_back(*in);
      ++in;
    }
    for (uint64_t i = 0; i < unit; i += 32)
      for (uint64_t j = 0; j < 16; ++j) {
        const uint8_t pair = *in++;
        out.codes[at + i + j] = pair & 15;
        out.codes[at + i + j + 16] = pair >> 4;
      }
  }
  return out;
}

Result<GroupMatrix> group_quantize(std::span<float> rows, uint64_t k, const GroupScheme& scheme,
                                   const GptqFactor* factor, Team& team, Isa isa) {
  const uint64_t n = rows.size() / k;
  if (scheme.table) {
    const NumericFormat& format = info(*scheme.table);
    std::vector<uint8_t> bytes(n * format.row_bytes(k));
    for_gptq_slices(uint32_t(n), team, [&](uint32_t slice, uint32_t) {
      const uint64_t first = uint64_t(slice) * kGptqRows, end = std::min(n, first + kGptqRows);
      format.encode(rows.data() + first * k, (end - first) * k, nullptr, bytes.data() + first * format.row_bytes(k));
    });
    return group_matrix(*scheme.table, bytes, k, scheme);
  }
  GroupMatrix out;
  out.n = n, out.k = k, out.group = scheme.group == 0 ? k : scheme.group;
  VIBEE_CHECK(k % out.group == 0 && (out.group == k || kLazyColumns % out.group == 0), "groups of {} in {}", out.group,
              k);
  out.codes.resize(n * k);
  out.scales.resize(n * (k / out.group));
  out.zeros.resize(out.scales.size());
  const Solve solve(rows, scheme, factor, isa, &out);
  for_gptq_slices(uint32_t(n), team, [&](uint32_t slice, uint32_t) {
    const uint64_t first = uint64_t(slice) * kGptqRows;
    solve.slice(first, std::min(n, first + kGptqRows));
  });
  for (size_t i = 0; i < out.scales.size(); ++i)
    if (!std::isfinite(out.scales[i]))
      return error(Code::invalid, "row {} needs a scale that {} does not hold", i / (k / out.group),
                   info(scheme.type).name);
  return out;
}

std::vector<float> group_values(const GroupMatrix& m, const GroupScheme& scheme) {
  const float* const table = !scheme.table ? nullptr : *scheme.table == Format::nf4s64 ? kNf4Values : kBnbFp4Values;
  const uint64_t groups = m.k / m.group;
  std::vector<float> out(m.codes.size());
  for (uint64_t r = 0; r < m.n; ++r)
    for (uint64_t i = 0; i < m.k; ++i) {
      const uint64_t g = r * groups + i / m.group;
      const uint8_t code = m.codes[r * m.k + i];
      const float value = table ? table[code] : float(int(code) - int(m.zeros[g]));
      out[r * m.k + (m.order.empty() ? i : m.order[i])] = m.scales[g] * value;
    }
  return out;
}

}  // namespace vibee
