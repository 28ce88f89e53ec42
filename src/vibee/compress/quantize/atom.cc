// SPDX-License-Identifier: Apache-2.0
#include "vibee/compress/quantize/atom.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "vibee/base/math/half.h"
#include "vibee/formats/integer/atom_scale.h"

namespace vibee {
namespace {

/// A matrix whose inputs are sorted, on its way.
class Solve {
 public:
  Solve(const SortedInputs& inputs, std::vector<float> rows, AtomMatrix* out, Team& team, Isa isa)
      : factor_(inputs.factor()), rows_(std::move(rows)), out_(*out), team_(team), isa_(isa), scratch_(team.size()) {}

  void group(uint32_t first) {
    const GptqBehind behind(factor_, first, first + out_.group, isa_);
    for_gptq_slices(out_.n, team_, [&](uint32_t slice, uint32_t tid) {
      const uint32_t begin = slice * kGptqRows, end = std::min(out_.n, begin + kGptqRows);
      Scratch& s = scratch_[tid];
      s.errors.resize(uint64_t(kGptqRows) * out_.group);
      for (uint32_t r = begin; r < end; r += 2) pair(r, std::min(end, r + 2), first, begin, &s.errors);
      behind.apply({row(begin), uint64_t(end - begin) * out_.k}, s.errors, &s.memory);
    });
  }

 private:
  struct Scratch {
    std::vector<float> errors;
    std::vector<uint8_t> memory;
  };
  float* row(uint32_t r) { return rows_.data() + uint64_t(r) * out_.k; }

  /// Rows r .. end - 1, which share a scale; errors are of rows from `begin` on.
  void pair(uint32_t r, uint32_t end, uint32_t first, uint32_t begin, std::vector<float>* errors) {
    const bool kept = first + out_.group == out_.k;
    float largest = 0;
    for (uint32_t i = r; i < end; ++i)
      for (uint32_t j = first; j < first + out_.group; ++j) largest = std::max(largest, std::fabs(row(i)[j]));
    const uint16_t half = atom_scale(largest, kept);
    const float scale = half_to_float(half), levels = float(kept ? kAtomKeptLevels : kAtomLevels);
    for (; r < end; ++r) {
      out_.scales[uint64_t(r) * (out_.k / out_.group) + first / out_.group] = half;
      for (uint32_t j = first; j < first + out_.group; ++j) {
        const bool none = half == 0 || factor_.dead(j);
        const float level = none ? 0.0f : std::clamp(std::nearbyint(row(r)[j] / scale), -levels - 1, levels);
        (*errors)[uint64_t(r - begin) * out_.group + (j - first)] =
            gptq_column(factor_, j, first + out_.group, level * scale, row(r));
        out_.codes[uint64_t(r) * out_.k + j] = uint8_t(level + levels + 1);
      }
    }
  }

  const GptqFactor& factor_;
  std::vector<float> rows_;
  AtomMatrix& out_;
  Team& team_;
  Isa isa_;
  std::vector<Scratch> scratch_;
};

}  // namespace

uint32_t atom_group(uint32_t k) {
  for (const uint32_t group : {128u, 64u})
    if (k % group == 0 && 8 * group <= k) return group;
  return k % 32 == 0 && k > 32 ? 32 : 0;
}

Format atom_format(uint32_t group) {
  return group == 128 ? Format::atom128 : group == 64 ? Format::atom64 : Format::atom32;
}

Result<SortedInputs> atom_inputs(std::span<const float> h, uint32_t k, uint32_t kept, Team& team, Isa isa) {
  constexpr double kDamping = 0.01;
  VIBEE_TRY(SortedInputs::check(h, k));
  std::vector<uint32_t> order(k);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](uint32_t a, uint32_t b) { return h[uint64_t(a) * (k + 1)] < h[uint64_t(b) * (k + 1)]; });
  std::sort(order.begin(), order.end() - kept);
  return SortedInputs::make(h, std::move(order), kDamping, team, isa);
}

std::vector<float> AtomMatrix::values() const {
  std::vector<float> out(uint64_t(n) * k);
  for (uint32_t r = 0; r < n; ++r)
    for (uint32_t j = 0; j < k; ++j) {
      const int zero = (j < k - group ? kAtomLevels : kAtomKeptLevels) + 1;
      out[uint64_t(r) * k + order[j]] =
          half_to_float(scales[uint64_t(r) * (k / group) + j / group]) * float(int(codes[uint64_t(r) * k + j]) - zero);
    }
  return out;
}

AtomMatrix atom_quantize(const SortedInputs& inputs, std::span<const float> weights, uint32_t group, Team& team,
                         Isa isa) {
  const uint32_t k = inputs.k(), n = uint32_t(weights.size() / k);
  VIBEE_CHECK(n > 0 && weights.size() % k == 0 && k % group == 0, "{} x {} in groups of {}", n, k, group);
  AtomMatrix out{n, k, group, {inputs.order().begin(), inputs.order().end()}, {}, {}};
  out.codes.resize(weights.size());
  out.scales.resize(weights.size() / group);
  Solve solve(inputs, inputs.sort(weights), &out, team, isa);
  for (uint32_t first = 0; first < k; first += group) solve.group(first);
  return out;
}

}  // namespace vibee
