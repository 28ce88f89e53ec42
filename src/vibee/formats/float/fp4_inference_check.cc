// SPDX-License-Identifier: Apache-2.0
// v1739: E2M1 and blocks of sixteen behind an E4M3 scale: every code and scale against their definition, rounding at
// all midpoints, scales that are never worse than those of the plain rules, and a model whose matrices are in them.
#include <algorithm>
#include <cmath>

#include "vibee/base/random/philox.h"
#include "vibee/core/technique/context.h"
#include "vibee/formats/float/minifloat.h"
#include "vibee/formats/packed/format.h"
#include "vibee/kit/format_trial.h"

namespace vibee {
namespace {

constexpr double kValues[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
constexpr uint32_t kBlock = 64, kSub = 16;

double e4m3(uint32_t code) {
  const int e = int(code >> 3), m = int(code & 7);
  return e == 0 ? std::ldexp(double(m), -9) : std::ldexp(1 + m / 8.0, e - 7);
}

/// Numbers of all scales and codes that are not E4M3(scale) * E2M1(code).
uint32_t wrong_numbers() {
  const NumericFormat& f = info(Format::nvfp4);
  uint32_t wrong = 0;
  for (uint32_t scale = 0; scale < 127; ++scale) {
    uint8_t block[36];
    std::fill(block, block + 4, uint8_t(scale));
    for (uint32_t i = 0; i < 32; ++i) block[4 + i] = uint8_t(i % 8 | (i % 8 + 8) << 4);
    float out[kBlock];
    f.decode(block, kBlock, out);
    for (uint32_t i = 0; i < kBlock; ++i) {
      const double want = e4m3(scale) * kValues[i % 8];
      wrong += double(out[i]) != (i % kSub < 8 ? want : -want);
    }
  }
  return wrong;
}

/// Midpoints of codes, and numbers beside them, that do not go to the nearest, or the even one.
uint32_t wrong_roundings() {
  uint32_t wrong = 0;
  for (uint32_t c = 0; c < 7; ++c) {
    const auto middle = float((kValues[c] + kValues[c + 1]) / 2);
    for (const auto& [x, want] :
         {std::pair{middle, c + c % 2}, {std::nextafter(middle, 0.0f), c}, {std::nextafter(middle, 9.0f), c + 1}})
      wrong += E2m1::encode(x) != want || E2m1::encode(-x) != (want | 8);
  }
  return wrong;
}

/// The error of a sub-block by a rule: its largest number becomes `most`, its scale is rounded to E4M3.
double error_by(const float* x, double most) {
  double amax = 0, error = 0;
  for (uint32_t i = 0; i < kSub; ++i) amax = std::max(amax, std::fabs(double(x[i])));
  const double scale = e4m3(E4m3::encode(float(amax / most)));
  for (uint32_t i = 0; i < kSub; ++i) {
    const double a = scale > 0 ? std::fabs(x[i]) / scale : 0;
    double near = 0;
    for (const double v : kValues)
      if (std::fabs(v - a) < std::fabs(near - a)) near = v;
    error += (near - a) * (near - a) * scale * scale;
  }
  return error;
}

struct Searched {
  uint32_t worse = 0;           ///< sub-blocks with a larger error than both rules
  double error = 0, plain = 0;  ///< mean squares over that of the numbers
};
Searched searched(uint64_t seed) {
  const NumericFormat& f = info(Format::nvfp4);
  RandomStream random(seed, Purpose::test);
  Searched out;
  double all = 0;
  for (uint32_t round = 0; round < 4000; ++round) {
    float x[kBlock], back[kBlock];
    uint8_t block[36];
    for (float& v : x) {
      v = random.normal();
      all += double(v) * v;
    }
    f.encode(x, kBlock, nullptr, block);
    f.decode(block, kBlock, back);
    for (uint32_t s = 0; s < kBlock; s += kSub) {
      double error = 0;
      for (uint32_t i = s; i < s + kSub; ++i) error += (double(back[i]) - x[i]) * (double(back[i]) - x[i]);
      const double six = error_by(x + s, 6), four = error_by(x + s, 4);
      out.worse += error > std::min(six, four) * (1 + 1e-6);
      out.error += error, out.plain += six;
    }
  }
  out.error /= all, out.plain /= all;
  return out;
}

/// Mean square of the error on normal numbers of some size over theirs.
double small_error(Format format, float size, uint64_t seed) {
  constexpr uint32_t kRow = 16 * kBlock;
  const NumericFormat& f = info(format);
  RandomStream random(seed, Purpose::test);
  std::vector<float> x(kRow), back(kRow);
  std::vector<uint8_t> bytes(f.row_bytes(kRow));
  double error = 0, all = 0;
  for (uint32_t row = 0; row < 50; ++row) {
    for (float& v : x) v = size * random.normal();
    f.encode(x.data(), kRow, nullptr, bytes.data());
    f.decode(bytes.data(), kRow, back.data());
    for (uint32_t i = 0; i < kRow; ++i) {
      error += (double(back[i]) - x[i]) * (double(back[i]) - x[i]);
      all += double(x[i]) * x[i];
    }
  }
  return error / all;
}

}  // namespace

Status check_fp4_inference(CheckContext& context) {
  context.not_built(
      "writing scales of whole matrices in GGUF; writing checkpoints of compressed-tensors and ModelOpt");
  context.not_built("activations in FP4 (W4A4); CUDA kernels");
  if (context.describe_only()) return {};
  context.equal("numbers that are not their code's", wrong_numbers(), 0);
  context.equal("roundings to another code than the nearest, or the even one", wrong_roundings(), 0);
  const Searched s = searched(context.settings().seed);
  context.equal("blocks with a larger error than one of the plain rules leaves (largest to 6, largest to 4)", s.worse,
                0);
  context.at_most("mean square of the error on normal numbers", s.error, 7.6e-3);  // tree/precision.md S5
  context.at_most("the same over that of plain rounding", s.error / s.plain, 0.85, "x");
  // Scales of a hundredth of 2^-6 are E4M3's subnormal ones; a scale of the row puts them back.
  const double without = small_error(Format::nvfp4, 1e-3f, context.settings().seed),
               scaled = small_error(Format::nvfp4s, 1e-3f, context.settings().seed);
  context.at_most("mean square of the error on numbers of 0.001 behind a scale of the row", scaled, 7.6e-3, "",
                  fmt::format("{:.3g} without", without));

  VIBEE_ASSIGN(const FormatTrial trial, FormatTrial::make(context.settings(), false));
  for (const std::string format : {"nvfp4", "nvfp4s"}) {
    VIBEE_ASSIGN(FormatTrial::Run coded, trial.load({format}));
    VIBEE_ASSIGN(FormatTrial::Run plain, trial.load({format, "f32"}));
    VIBEE_ASSIGN(FormatTrial::Run rows, trial.load({format}, true));
    VIBEE_ASSIGN(const std::vector<float> a, FormatTrial::logits(coded, 1));
    VIBEE_ASSIGN(const std::vector<float> b, FormatTrial::logits(plain, 1));
    VIBEE_ASSIGN(const std::vector<float> c, FormatTrial::logits(rows, 1));
    context.equal(format + ": with rows in floats, logits equal those of the same values in f32", c == b, 1);
    // Rows of 8 bits are off by 1/254 of their largest at most: on the whole far less than weights of four bits are.
    context.at_most(format + ": KL divergence that rows of 8 bits cost", FormatTrial::kl(b, a, coded.vocab()), 1e-3,
                    "nats");
  }
  return {};
}

}  // namespace vibee
