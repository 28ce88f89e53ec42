// SPDX-License-Identifier: Apache-2.0
// v1740: the sixteen quantiles and their rounding, groups with a scale, and a model whose matrices are in NF4.
#include <cmath>

#include "vibee/base/random/philox.h"
#include "vibee/core/technique/context.h"
#include "vibee/formats/float/nf4_quantization.h"
#include "vibee/formats/packed/format.h"
#include "vibee/kit/format_trial.h"

namespace vibee {

Status check_nf4_quantization(CheckContext& context) {
  context.not_built("scales that are quantised themselves when written (nested ones are read)");
  context.not_built("nested scales of bitsandbytes are read; they are not written");
  context.not_built("integer products of codes; CUDA kernels; adapters in PEFT's form");
  if (context.describe_only()) return {};

  // Every group has a largest number, whose code has the size 1; the others take the nearest code.
  RandomStream random(context.settings().seed, Purpose::test);
  const NumericFormat& format = info(Format::nf4s64);
  uint32_t wrong = 0;
  double squares = 0, all = 0;
  const int rounds = context.settings().quick ? 2000 : 50000;
  for (int round = 0; round < rounds; ++round) {
    float x[64], back[64];
    double most = 0;
    for (float& v : x) {
      v = random.normal();
      most = std::max(most, std::fabs(double(v)));
    }
    uint8_t bytes[36];
    format.encode(x, 64, nullptr, bytes);
    format.decode(bytes, 64, back);
    for (int i = 0; i < 64; ++i) {
      double best = 1e9;
      for (const float value : kNf4Values) best = std::min(best, std::fabs(value * most - x[i]));
      wrong += std::fabs(double(back[i]) - x[i]) > best + 1e-6 * most;
      squares += (double(back[i]) - x[i]) * (double(back[i]) - x[i]);
      all += double(x[i]) * x[i];
    }
  }
  context.equal("numbers that took another code than the nearest", wrong, 0);
  // Gaussian numbers: tree/precision.md S5 has 8.5e-3 for rows of 576, in groups of 64.
  context.at_most("mean square of the error of normal numbers", squares / all, 8.5e-3 * 1.03);

  VIBEE_ASSIGN(const FormatTrial trial, FormatTrial::make(context.settings(), false));
  VIBEE_ASSIGN(FormatTrial::Run coded, trial.load({"nf4"}));
  VIBEE_ASSIGN(FormatTrial::Run plain, trial.load({"nf4", "f32"}));
  VIBEE_ASSIGN(const std::vector<float> a, FormatTrial::logits(coded, 1));
  VIBEE_ASSIGN(const std::vector<float> b, FormatTrial::logits(plain, 1));
  context.equal("logits equal those of the same values in f32", a == b, 1);
  return {};
}

}  // namespace vibee
