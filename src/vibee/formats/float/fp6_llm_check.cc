// SPDX-License-Identifier: Apache-2.0
// v1775: six-bit floats: all codes against their definition, rounding at all midpoints, the error on normal numbers,
// and a model whose matrices are in them.
#include <cmath>

#include "vibee/base/random/philox.h"
#include "vibee/core/technique/context.h"
#include "vibee/formats/float/minifloat.h"
#include "vibee/formats/packed/format.h"
#include "vibee/kit/format_trial.h"

namespace vibee {
namespace {

/// Codes with another value than sign, exponent and mantissa say; roundings of midpoints and of what lies beside them
/// to another code than the nearest, or the even one.
template <class F>
void count_wrong(int mantissa_bits, int bias, uint32_t* codes, uint32_t* roundings) {
  const auto value = [&](uint32_t c) {
    const int e = int(c >> mantissa_bits), m = int(c) & ((1 << mantissa_bits) - 1);
    return e == 0 ? std::ldexp(double(m), 1 - bias - mantissa_bits)
                  : std::ldexp(1 + std::ldexp(double(m), -mantissa_bits), e - bias);
  };
  for (uint32_t c = 0; c < 32; ++c) {
    *codes += double(F::decode(c)) != value(c) || double(F::decode(c | 32)) != -value(c);
    if (c == 31) break;
    const auto middle = float((value(c) + value(c + 1)) / 2);  // exact
    *roundings += F::encode(middle) != c + c % 2 || F::encode(-middle) != (32 | (c + c % 2));
    *roundings += F::encode(std::nextafter(middle, 0.0f)) != c || F::encode(std::nextafter(middle, 1e9f)) != c + 1;
  }
}

double error_of(Format name, uint64_t seed) {
  const NumericFormat& format = info(name);
  RandomStream random(seed, Purpose::test);
  std::vector<float> x(576 / 64 * 64 * 20), back(x.size());
  std::vector<uint8_t> bytes(format.row_bytes(x.size()));
  for (float& v : x) v = random.normal();
  format.encode(x.data(), x.size(), nullptr, bytes.data());
  format.decode(bytes.data(), x.size(), back.data());
  double squares = 0, all = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    squares += (double(back[i]) - x[i]) * (double(back[i]) - x[i]);
    all += double(x[i]) * x[i];
  }
  return squares / all;
}

}  // namespace

Status check_fp6_llm(CheckContext& context) {
  context.not_built("scales of rows; E2M2 of five bits; the packed tensor of fp6_llm");
  context.not_built("integer products (lo + 8 hi); CUDA kernels");
  if (context.describe_only()) return {};

  uint32_t codes = 0, roundings = 0;
  count_wrong<E3m2>(2, 3, &codes, &roundings);
  count_wrong<E2m3>(3, 1, &codes, &roundings);
  context.equal("codes with another value", codes, 0);
  context.equal("roundings to another code than the nearest", roundings, 0);
  // Normal numbers: tree/precision.md S5 has 7.6e-4 and 2.75e-3 for scales of rows, which are larger than those of 32.
  context.at_most("mean square of E2M3's error on normal numbers", error_of(Format::e2m3s32, context.settings().seed),
                  7.6e-4);
  context.at_most("mean square of E3M2's error on normal numbers", error_of(Format::e3m2s32, context.settings().seed),
                  2.75e-3 * 1.03);

  VIBEE_ASSIGN(const FormatTrial trial, FormatTrial::make(context.settings(), false));
  for (const char* name : {"fp6", "fp6e3m2"}) {
    VIBEE_ASSIGN(FormatTrial::Run coded, trial.load({name}));
    VIBEE_ASSIGN(FormatTrial::Run plain, trial.load({name, "f32"}));
    VIBEE_ASSIGN(const std::vector<float> a, FormatTrial::logits(coded, 1));
    VIBEE_ASSIGN(const std::vector<float> b, FormatTrial::logits(plain, 1));
    context.equal(fmt::format("{}: logits equal those of the same values in f32", name), a == b, 1);
  }
  return {};
}

}  // namespace vibee
