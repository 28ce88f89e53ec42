// SPDX-License-Identifier: Apache-2.0
// v1735: E4M3 against its definition in double, groups with a scale, and a model whose matrices are in it.
#include <algorithm>
#include <cmath>

#include "vibee/base/random/philox.h"
#include "vibee/core/technique/context.h"
#include "vibee/formats/float/minifloat.h"
#include "vibee/formats/packed/format.h"
#include "vibee/kit/format_trial.h"

namespace vibee {
namespace {

/// What OFP8 says of a code below 0x7f: 2^(e - 7) (1 + m / 8), or 2^-6 m / 8.
double value_of(uint32_t code) {
  const int e = int(code >> 3), m = int(code & 7);
  return e == 0 ? std::ldexp(m / 8.0, -6) : std::ldexp(1 + m / 8.0, e - 7);
}

/// The code nearest to |x|: of two that are as near the even one, and the largest beyond it.
uint32_t nearest(double x) {
  uint32_t best = 0;
  for (uint32_t c = 1; c <= E4m3::kLargest; ++c) {
    const double mine = std::fabs(value_of(c) - x), other = std::fabs(value_of(best) - x);
    if (mine < other || (mine == other && c % 2 == 0)) best = c;
  }
  return best;
}

}  // namespace

Status check_fp8_e4m3(CheckContext& context) {
  context.not_built("activations and keys and values in fp8 (--act, --kv), counts of what is saturated");
  context.not_built("fp8 directories are read; they are not written");
  context.not_built("CUDA kernels");
  if (context.describe_only()) return {};

  uint32_t others = 0, returned = 0;
  for (uint32_t c = 0; c <= E4m3::kLargest; ++c) {
    others += double(E4m3::decode(c)) != value_of(c) || double(E4m3::decode(c | 0x80)) != -value_of(c);
    returned += E4m3::encode(E4m3::decode(c)) == c && E4m3::encode(E4m3::decode(c | 0x80)) == (c | 0x80);
  }
  others += !std::isnan(E4m3::decode(0x7f)) || !std::isnan(E4m3::decode(0xff));
  context.equal("codes with another value", others, 0);
  context.equal("codes that come back", returned, E4m3::kLargest + 1);

  uint32_t wrong = 0;
  const auto rounds = [&](float x) {
    wrong += E4m3::encode(x) != nearest(x) || E4m3::encode(-x) != (nearest(x) | 0x80);
  };
  for (uint32_t c = 0; c < E4m3::kLargest; ++c) {
    const auto middle = float((value_of(c) + value_of(c + 1)) / 2);
    for (const float x : {middle, std::nextafter(middle, 0.0f), std::nextafter(middle, 1e9f)}) rounds(x);
  }
  RandomStream random(context.settings().seed, Purpose::test);
  const int count = context.settings().quick ? 1 << 14 : 1 << 20;
  for (int i = 0; i < count; ++i) rounds(std::fabs(random.normal()) * std::exp2(float(random.below(24)) - 14));
  context.equal("roundings to another code than the nearest", wrong, 0);

  // A group of numbers of all sizes: the scale costs half a step of three bits, or of the smallest step.
  double worst = 0;
  for (int round = 0; round < 100; ++round) {
    float x[128], back[128], most = 0;
    for (float& v : x) {
      v = random.normal() * std::exp2(float(random.below(12)) - 8);
      most = std::max(most, std::fabs(v));
    }
    uint8_t bytes[132];
    const NumericFormat& format = info(Format::e4m3s128);
    format.encode(x, 128, nullptr, bytes);
    format.decode(bytes, 128, back);
    for (int i = 0; i < 128; ++i) {
      const double allowed = std::fabs(double(x[i])) / 16 + most / 448 * std::ldexp(1, -10);
      worst = std::max(worst, std::fabs(double(back[i]) - x[i]) / allowed);
    }
  }
  context.at_most("error over half a step", worst, 1 + 1e-6);

  // The same values in f32, multiplied in the same order.
  VIBEE_ASSIGN(const FormatTrial trial, FormatTrial::make(context.settings(), false));
  VIBEE_ASSIGN(FormatTrial::Run coded, trial.load({"fp8"}));
  VIBEE_ASSIGN(FormatTrial::Run plain, trial.load({"fp8", "f32"}));
  VIBEE_ASSIGN(const std::vector<float> a, FormatTrial::logits(coded, 1));
  VIBEE_ASSIGN(const std::vector<float> b, FormatTrial::logits(plain, 1));
  context.equal("logits equal those of the same values in f32", a == b, 1);
  return {};
}

}  // namespace vibee
