// SPDX-License-Identifier: Apache-2.0
#include "vibee/compress/quantize/hqq_search.h"

#include <algorithm>
#include <cmath>

namespace vibee {
namespace {

constexpr int kSteps = 20;
constexpr float kPower = 0.7f;
constexpr double kBeta = 10, kGrowth = 1.01;

/// What is left of an error behind the proximal step of |x|^p.
float shrink(float x, double beta) {
  const float size = std::fabs(x);
  if (size == 0) return 0;
  return std::copysign(std::max(0.0f, size - float(std::pow(size, kPower - 1) / beta)), x);
}

/// The mean error with codes that begin at `shift`, and the shift that is best for them once large errors are set
/// aside.
struct Step {
  double error = 0, next = 0;
};
Step step(std::span<const float> w, const ShiftedGrid& grid, float shift, double beta) {
  Step out;
  for (const float x : w) {
    const float top = grid.scale * float(grid.code(x, shift)), error = x - (top - shift);
    out.error += std::fabs(error);
    out.next += double(top) - (double(x) - shrink(error, beta));
  }
  out.error /= double(w.size());
  out.next /= double(w.size());
  return out;
}

}  // namespace

uint8_t ShiftedGrid::code(float w, float shift) const {
  const float u = std::nearbyint(rounded(rounded(w + shift) / scale));
  return std::isnan(u) ? 0 : uint8_t(std::clamp(u, 0.0f, float(most)));
}

float hqq_shift(std::span<const float> w, const ShiftedGrid& grid, float shift) {
  if (w.empty() || grid.scale == 0) return shift;
  double beta = kBeta;
  Step at = step(w, grid, shift, beta);
  double least = at.error;
  for (int i = 0; i < kSteps; ++i) {
    const float tried = grid.rounded(float(at.next));
    at = step(w, grid, tried, beta *= kGrowth);
    if (!(at.error < least)) continue;
    least = at.error;
    shift = tried;
  }
  return shift;
}

}  // namespace vibee
