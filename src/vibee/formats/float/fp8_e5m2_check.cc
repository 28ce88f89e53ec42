// SPDX-License-Identifier: Apache-2.0
// v1736: all codes of E5M2, the scales of scripted steps, products beside sums in double, and bytes of whole runs.
#include <algorithm>
#include <cmath>

#include "vibee/base/math/half.h"
#include "vibee/base/random/philox.h"
#include "vibee/core/technique/context.h"
#include "vibee/formats/float/minifloat.h"
#include "vibee/kernels/gemm/round_operand.h"
#include "vibee/kit/trial_training.h"
#include "vibee/train/precision/fp8_scaling.h"

namespace vibee {
namespace {

/// Codes whose values do not come back, and floats between two codes that are not rounded to the nearer, or to the
/// even.
uint32_t wrong_codes(Isa isa) {
  uint32_t wrong = 0;
  const SmallFloat& to = info(OperandForm::e5m2).to;
  const auto rounded = [&](float x) {
    uint16_t y;
    small_float_kernels(isa).scaled(&x, Format::f32, 1, to, 1, &y);
    return bf16_to_float(y);
  };
  for (uint32_t c = 0; c <= E5m2::kLargest; ++c) {
    const float x = E5m2::decode(c);
    wrong += rounded(x) != x || rounded(-x) != -x;
    if (c == E5m2::kLargest) break;
    const float next = E5m2::decode(c + 1), tie = (x + next) / 2;
    wrong += rounded(std::nextafter(tie, 0.0f)) != x || rounded(std::nextafter(tie, 1e9f)) != next;
    wrong += rounded(tie) != (c % 2 == 0 ? x : next);
  }
  return wrong + (rounded(1e30f) != 57344.0f);
}

/// Scales of steps with zeros, infinities, numbers that are none and tiny ones, beside the rules said once more.
uint32_t wrong_scales(const Fp8Scaling& options) {
  Fp8Scales scales(options, {OperandForm::e4m3, OperandForm::e5m2});
  RandomStream random(3, Purpose::test);
  std::vector<float> history;
  float want[2] = {};
  uint32_t wrong = 0;
  for (int t = 0; t < 2000; ++t) {
    const uint32_t kind = random.below(20);
    const float most = kind == 0   ? 0.0f
                       : kind == 1 ? INFINITY
                       : kind == 2 ? 1e-42f
                                   : std::ldexp(1 + random.uniform(), int(random.below(60)) - 30);
    scales.begin();
    scales.largest()[0] = scales.largest()[1] = most;
    scales.step();
    history.insert(history.begin(), most);
    if (history.size() > options.history) history.pop_back();
    const float of =
        options.amax == Fp8Scaling::Amax::latest ? history[0] : *std::max_element(history.begin(), history.end());
    for (int i = 0; i < 2; ++i) {
      if (of > 0 && std::isfinite(of))
        want[i] = std::min(std::ldexp(i == 0 ? 448.0f : 57344.0f, -options.margin) / of, 0x1p126f);
      wrong += scales.scales()[size_t(i)] != want[i];
    }
  }
  return wrong;
}

/// Numbers that a scale of the steps before makes too large, where the largest grows by less than 2^margin a step.
uint32_t too_large(int margin) {
  Fp8Scaling options;
  options.margin = margin, options.history = 16;
  Fp8Scales scales(options, {OperandForm::e5m2});
  uint32_t count = 0;
  float most = 1e-3f;
  for (int t = 0; t < 60; ++t, most *= 1.9f) {
    if (t > 0) count += most * scales.scales()[0] > 57344.0f;
    scales.begin();
    scales.largest()[0] = most;
    scales.step();
  }
  return count;
}

/// The error of E5M2 relative to a normal number, at most.
double worst_error(Isa isa) {
  RandomStream random(4, Purpose::test);
  std::vector<float> x(1 << 16);
  for (float& v : x)
    v = std::ldexp(1 + random.uniform(), int(random.below(29)) - 14) * (random.below(2) ? 1.0f : -1.0f);
  std::vector<uint16_t> y(x.size());
  small_float_kernels(isa).scaled(x.data(), Format::f32, x.size(), info(OperandForm::e5m2).to, 1, y.data());
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i) worst = std::max(worst, std::fabs(double(bf16_to_float(y[i])) / x[i] - 1));
  return worst;
}

}  // namespace

Status check_fp8_e5m2(CheckContext& context) {
  context.not_built("scales of blocks (1 x 128, 128 x 128); a count of numbers that were too large");
  context.not_built("products of 8-bit floats themselves (cuBLASLt on sm_90): CPUs emulate them");
  if (context.describe_only()) return {};
  const Isa isa = context.settings().isa;
  context.equal("codes of E5M2 and floats between two of them that are rounded elsewhere", wrong_codes(isa), 0);
  Fp8Scaling options;
  options.history = 16;
  context.equal("scales of 2,000 steps unlike the rules'", wrong_scales(options), 0);
  options.amax = Fp8Scaling::Amax::latest, options.margin = 2;
  context.equal("the same by the latest step, margin 2", wrong_scales(options), 0);
  context.equal("numbers too large where the largest grows by 1.9 a step, margin 1", too_large(1), 0);
  context.at_least("the same without a margin", too_large(0), 1);
  context.at_most("error of E5M2 relative to a normal number", worst_error(isa), 0x1p-3);
  if (!context.proceed("training", 0.4)) return error(Code::cancelled, "stopped");

  for (const auto kind : {Fp8Scaling::Kind::delayed, Fp8Scaling::Kind::current}) {
    TrialTraining trial;
    trial.options.isa = isa;
    trial.steps = 10;
    trial.options.precision.products = find_product_recipe("fp8-hybrid");
    trial.options.precision.fp8.kind = kind;
    trial.options.precision.fp8.history = 8;
    const std::string scaling = kind == Fp8Scaling::Kind::delayed ? "delayed" : "current";
    VIBEE_ASSIGN(const TrialTraining::Elsewhere runs, trial.elsewhere());
    for (const auto& [what, same] : runs.same)
      context.equal(fmt::format("{}: 10 steps {}: the same bytes, scales among them", scaling, what), same, 1);
  }
  return {};
}

}  // namespace vibee
