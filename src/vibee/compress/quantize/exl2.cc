// SPDX-License-Identifier: Apache-2.0
#include "vibee/compress/quantize/exl2.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "vibee/base/math/half.h"

namespace vibee {
namespace {

constexpr uint32_t kShrinks = 97;
constexpr float kLeastShrink = 0.7f, kMostShrink = 1.2f;
constexpr uint16_t kLeastHalf = 1, kMostHalf = 0x7bff;  // zero would not be divided by

/// To the nearest whole number, ties to even; |x| below 2^22.
float nearest(float x) {
  constexpr float kMagic = 12582912.0f;  // 3 * 2^22
  return (x + kMagic) - kMagic;
}

float scale_of(uint8_t code, uint16_t most) { return float((code + 1) * (code + 1)) * half_to_float(most) / 256; }

/// A half of a positive number, neither zero nor infinite.
uint16_t usable_half(float v) { return std::clamp(float_to_half(v), kLeastHalf, kMostHalf); }

/// Which integers a width has, around zero.
struct Levels {
  explicit Levels(uint32_t bits) : low(-float(1u << (bits - 1))), high(float((1u << (bits - 1)) - 1)) {}
  float low, high;
  float of(float w, float inverse) const { return nearest(std::min(std::max(w * inverse, low), high)); }
};

/// The sum of |error|^3.5 of a row's part.
double shrink_error(const float* w, uint32_t count, float scale, Levels levels) {
  const float inverse = 1 / scale;
  float sum = 0;
  for (uint32_t i = 0; i < count; ++i) {
    const float e = std::fabs(w[i] - levels.of(w[i], inverse) * scale);
    sum += e * e * e * std::sqrt(e);
  }
  return sum;
}

/// A matrix whose inputs are sorted, on its way.
class Solve {
 public:
  Solve(const SortedInputs& inputs, std::vector<float> rows, Exl2Matrix* out, Team& team, Isa isa)
      : factor_(inputs.factor()),
        rows_(std::move(rows)),
        out_(*out),
        team_(team),
        isa_(isa),
        slices_((out->n + kGptqRows - 1) / kGptqRows),
        scratch_(team.size()) {}

  void group(size_t g) {
    choose_scales(g);
    const Exl2Group& group = out_.groups[g];
    const GptqBehind behind(factor_, group.first, group.end, isa_);
    std::vector<double> losses(slices_);
    for_gptq_slices(out_.n, team_, [&](uint32_t slice, uint32_t tid) { losses[slice] = codes(g, slice, tid, behind); });
    out_.loss += std::accumulate(losses.begin(), losses.end(), 0.0);
  }

 private:
  struct Scratch {
    std::vector<float> errors;
    std::vector<uint8_t> memory;
  };
  uint32_t first_row(uint32_t slice) const { return slice * kGptqRows; }
  uint32_t end_row(uint32_t slice) const { return std::min(out_.n, (slice + 1) * kGptqRows); }
  float* row(uint32_t r) { return rows_.data() + uint64_t(r) * out_.k; }

  void choose_scales(size_t g) {
    const Exl2Group& group = out_.groups[g];
    const uint32_t n = out_.n, count = group.end - group.first;
    const Levels levels(group.bits);
    std::vector<float> base(n);
    for_gptq_slices(n, team_, [&](uint32_t slice, uint32_t) {
      for (uint32_t r = first_row(slice); r < end_row(slice); ++r) {
        float most = 1e-12f;
        for (uint32_t j = group.first; j < group.end; ++j) most = std::max(most, std::fabs(row(r)[j]));
        base[r] = most / (levels.high + 0.5f);
      }
    });
    const float top = *std::max_element(base.begin(), base.end());
    uint8_t* const scales = out_.scales.data() + g * n;
    for (uint32_t r = 0; r < n; ++r)
      scales[r] = uint8_t(std::clamp(nearest(std::sqrt(base[r] / top) * 16), 1.0f, 16.0f) - 1);
    std::vector<uint16_t> halves;  // to choose from; neighbours may be equal
    for (uint32_t i = 0; i < kShrinks; ++i)
      halves.push_back(usable_half(top * (kLeastShrink + (kMostShrink - kLeastShrink) * float(i) / (kShrinks - 1))));
    std::vector<double> errors(uint64_t(slices_) * kShrinks);
    for_gptq_slices(n, team_, [&](uint32_t slice, uint32_t) {
      for (uint32_t i = 0; i < kShrinks; ++i)
        for (uint32_t r = first_row(slice); r < end_row(slice); ++r)
          errors[uint64_t(slice) * kShrinks + i] +=
              shrink_error(row(r) + group.first, count, scale_of(scales[r], halves[i]), levels);
    });
    uint32_t best = 0;
    std::vector<double> sums(kShrinks);
    for (size_t i = 0; i < errors.size(); ++i) sums[i % kShrinks] += errors[i];
    for (uint32_t i = 1; i < kShrinks; ++i)
      if (sums[i] < sums[best]) best = i;
    out_.most[g] = halves[best];
  }

  double codes(size_t g, uint32_t slice, uint32_t tid, const GptqBehind& behind) {
    const Exl2Group& group = out_.groups[g];
    const uint32_t count = group.end - group.first, first = first_row(slice), end = end_row(slice);
    const Levels levels(group.bits);
    Scratch& s = scratch_[tid];
    s.errors.resize(uint64_t(kGptqRows) * count);
    double loss = 0;
    for (uint32_t r = first; r < end; ++r) {
      const float scale = out_.scale(g, r), inverse = 1 / scale;
      float* const w = row(r);
      for (uint32_t j = group.first; j < group.end; ++j) {
        const float level = factor_.dead(j) ? 0.0f : levels.of(w[j], inverse);
        const float e = gptq_column(factor_, j, group.end, level * scale, w);
        s.errors[uint64_t(r - first) * count + (j - group.first)] = e;
        loss += double(e) * e;
        out_.codes[uint64_t(r) * out_.k + j] = uint8_t(level - levels.low);
      }
    }
    behind.apply({row(first), uint64_t(end - first) * out_.k}, s.errors, &s.memory);
    return loss;
  }

  const GptqFactor& factor_;
  std::vector<float> rows_;
  Exl2Matrix& out_;
  Team& team_;
  Isa isa_;
  uint32_t slices_;
  std::vector<Scratch> scratch_;
};

}  // namespace

Result<SortedInputs> exl2_inputs(std::span<const float> h, uint32_t k, Team& team, Isa isa, double damping) {
  std::vector<uint32_t> order(k);
  std::iota(order.begin(), order.end(), 0);
  VIBEE_TRY(SortedInputs::check(h, k));
  std::stable_sort(order.begin(), order.end(),
                   [&](uint32_t a, uint32_t b) { return h[uint64_t(a) * (k + 1)] > h[uint64_t(b) * (k + 1)]; });
  return SortedInputs::make(h, std::move(order), damping, team, isa);
}

float Exl2Matrix::scale(size_t group, uint32_t row) const { return scale_of(scales[group * n + row], most[group]); }

std::vector<float> Exl2Matrix::values() const {
  std::vector<float> out(uint64_t(n) * k);
  for (size_t g = 0; g < groups.size(); ++g)
    for (uint32_t r = 0; r < n; ++r) {
      const float by = scale(g, r);
      const int zero = 1 << (groups[g].bits - 1);
      for (uint32_t j = groups[g].first; j < groups[g].end; ++j)
        out[uint64_t(r) * k + order[j]] = float(int(codes[uint64_t(r) * k + j]) - zero) * by;
    }
  return out;
}

Exl2Matrix exl2_quantize(const SortedInputs& inputs, std::span<const float> weights, std::span<const Exl2Group> groups,
                         Team& team, Isa isa) {
  const uint32_t k = inputs.k(), n = uint32_t(weights.size() / k);
  VIBEE_CHECK(n > 0 && weights.size() % k == 0 && !groups.empty() && groups.back().end == k, "{} of {}", n, k);
  Exl2Matrix out;
  out.n = n, out.k = k;
  out.groups.assign(groups.begin(), groups.end());
  out.order.assign(inputs.order().begin(), inputs.order().end());
  out.codes.resize(weights.size());
  out.scales.resize(groups.size() * n);
  out.most.resize(groups.size());
  Solve solve(inputs, inputs.sort(weights), &out, team, isa);
  for (size_t g = 0; g < groups.size(); ++g) solve.group(g);
  return out;
}

}  // namespace vibee
