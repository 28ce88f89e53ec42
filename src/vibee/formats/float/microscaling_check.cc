// SPDX-License-Identifier: Apache-2.0
// v1737: the Microscaling formats: scales by the rule of the specification, powers of two that change scales alone, and
// a model whose matrices are in them.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "vibee/base/math/half.h"
#include "vibee/base/random/philox.h"
#include "vibee/core/technique/context.h"
#include "vibee/formats/packed/format.h"
#include "vibee/kernels/gemm/round_operand.h"
#include "vibee/kit/format_trial.h"
#include "vibee/kit/trial_training.h"

namespace vibee {
namespace {

struct MxFormat {
  Format format;
  const char* name;
  int most;  ///< exponent of the largest code: emax of OCP MX 1.0, table 1
  int mantissa;
  float largest;
};
constexpr MxFormat kFormats[] = {{Format::mxfp8, "mxfp8", 8, 3, 448},
                                 {Format::mxfp8e5m2, "mxfp8e5m2", 15, 2, 57344},
                                 {Format::mxfp6, "mxfp6", 2, 3, 7.5f},
                                 {Format::mxfp6e3m2, "mxfp6e3m2", 4, 2, 28},
                                 {Format::mxfp4, "mxfp4", 2, 1, 6}};

/// Scales of blocks whose largest number is 2^k or its neighbours, where a logarithm in floats errs.
uint32_t wrong_scales(const MxFormat& f) {
  uint32_t wrong = 0;
  for (int k = -100; k < 100; ++k)
    for (const float most :
         {std::nextafter(std::ldexp(1.0f, k), 0.0f), std::ldexp(1.0f, k), std::nextafter(std::ldexp(1.0f, k), 1e38f)}) {
      float x[32] = {};
      x[7] = -most;
      uint8_t block[64];
      info(f.format).encode(x, 32, nullptr, block);
      const int exponent = std::ilogb(most) - f.most;  // exact
      wrong += block[0] != uint8_t(exponent + 127);
    }
  return wrong;
}

/// Numbers of operands of training, rounded along rows and across them of the same floats, beside the formats' codes of
/// rows and of columns: the second is not made of the first.
uint32_t wrong_operands(const RunSettings& settings) {
  constexpr uint32_t kSize = 64;
  RandomStream random(settings.seed, Purpose::test, 1);
  std::vector<float> x(kSize * kSize), turned(x.size()), along(x.size()), across(x.size());
  for (float& v : x) v = std::ldexp(random.normal(), int(random.below(20)) - 10);
  for (uint32_t r = 0; r < kSize; ++r)
    for (uint32_t c = 0; c < kSize; ++c) turned[c * kSize + r] = x[r * kSize + c];
  std::vector<uint8_t> codes(2 * x.size());
  std::vector<uint16_t> y(x.size()), z(x.size());
  const SmallFloatKernels& kernels = small_float_kernels(settings.isa);
  uint32_t wrong = 0;
  for (const auto& [form, format] :
       {std::pair{OperandForm::mx_e4m3, Format::mxfp8}, {OperandForm::mx_e5m2, Format::mxfp8e5m2}}) {
    info(format).encode(x.data(), x.size(), nullptr, codes.data());
    info(format).decode(codes.data(), x.size(), along.data());
    info(format).encode(turned.data(), x.size(), nullptr, codes.data());
    info(format).decode(codes.data(), x.size(), across.data());
    for (uint32_t r = 0; r < kSize; ++r) kernels.along(&x[r * kSize], Format::f32, kSize, info(form).to, &y[r * kSize]);
    for (uint32_t r = 0; r < kSize; r += kScaledBlock)
      kernels.across(&x[r * kSize], Format::f32, kSize, kScaledBlock, kSize, info(form).to, &z[r * kSize]);
    for (uint32_t r = 0; r < kSize; ++r)
      for (uint32_t c = 0; c < kSize; ++c)
        wrong += bf16_to_float(y[r * kSize + c]) != along[r * kSize + c] ||
                 bf16_to_float(z[r * kSize + c]) != across[c * kSize + r];
  }
  return wrong;
}

}  // namespace

Status check_microscaling(CheckContext& context) {
  context.not_built("MXINT8; the scale rules ceil, rceil and even");
  context.not_built("--kv mx");
  context.not_built("integer products of E2M3, block-scaled MMA of sm_100a; MXFP4 of safetensors");
  if (context.describe_only()) return {};

  RandomStream random(context.settings().seed, Purpose::test);
  uint32_t scales = 0, moved = 0, canonical = 0;
  double worst = 0;
  const int rounds = context.settings().quick ? 200 : 5000;
  for (const MxFormat& f : kFormats) {
    scales += wrong_scales(f);
    const NumericFormat& format = info(f.format);
    const bool ours = f.format != Format::mxfp4;  // GGUF's encoder has a rule of its own for ties
    for (int round = 0; round < rounds; ++round) {
      float x[32], scaled[32], back[32], again[32], most = 0;
      for (float& v : x) {
        v = random.normal();
        most = std::max(most, std::fabs(v));
      }
      const int up = int(random.below(40)) - 20;
      for (int i = 0; i < 32; ++i) scaled[i] = std::ldexp(x[i], up);
      uint8_t a[64], b[64], c[64];
      format.encode(x, 32, nullptr, a);
      format.encode(scaled, 32, nullptr, b);
      moved += std::memcmp(a + 1, b + 1, format.block_bytes - 1) != 0 || int(b[0]) - a[0] != up;
      format.decode(a, 32, back);
      format.encode(back, 32, nullptr, c);
      format.decode(c, 32, again);
      canonical += ours && !std::equal(back, back + 32, again);
      const double top = std::ldexp(double(f.largest), a[0] - 127);
      for (int i = 0; i < 32; ++i) {
        const double size = std::fabs(double(x[i])), error = std::fabs(double(back[i]) - x[i]);
        // Half a step of the mantissa for numbers near the top, all that is above the largest code, and half of the
        // smallest step below.
        const double step = std::ldexp(1.0, a[0] - 127) * double(f.largest) * std::ldexp(1.0, -f.most * 2 - f.mantissa);
        const double allowed = std::max(std::ldexp(size, -f.mantissa - 1), size - top) + step;
        worst = std::max(worst, error / allowed);
      }
    }
  }
  context.equal("scales unlike floor(log2 amax) - emax", scales, 0);
  context.equal("codes that a power of two changed", moved, 0);
  context.equal("blocks whose values do not come back", canonical, 0);
  context.at_most("error over what a code's step allows", worst, 1);

  VIBEE_ASSIGN(const FormatTrial trial, FormatTrial::make(context.settings(), false));
  for (const char* name : {"mxfp8", "mxfp8e5m2", "mxfp6", "mxfp6e3m2"}) {
    VIBEE_ASSIGN(FormatTrial::Run coded, trial.load({name}));
    VIBEE_ASSIGN(FormatTrial::Run plain, trial.load({name, "f32"}));
    VIBEE_ASSIGN(const std::vector<float> a, FormatTrial::logits(coded, 1));
    VIBEE_ASSIGN(const std::vector<float> b, FormatTrial::logits(plain, 1));
    context.equal(fmt::format("{}: logits equal those of the same values in f32", name), a == b, 1);
  }
  if (!context.proceed("training", 0.7)) return error(Code::cancelled, "stopped");

  context.equal("operands of products unlike the formats' blocks, along and across", wrong_operands(context.settings()),
                0);
  TrialTraining training;
  training.options.isa = context.settings().isa;
  training.options.precision.products = find_product_recipe("mxfp8");
  VIBEE_ASSIGN(const TrialTraining::Elsewhere runs, training.elsewhere());
  for (const auto& [what, same] : runs.same)
    context.equal(fmt::format("steps of mxfp8 {}: the same bytes", what), same, 1);
  return {};
}

}  // namespace vibee
