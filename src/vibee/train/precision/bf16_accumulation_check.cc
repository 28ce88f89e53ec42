// SPDX-License-Identifier: Apache-2.0
#include "vibee/train/precision/bf16_accumulation.h"

#include <bit>
#include <cmath>

#include "vibee/core/technique/context.h"
#include "vibee/kit/trial_training.h"

namespace vibee {
namespace {

/// n weights in a form.
struct Array {
  WeightForm form;
  std::vector<uint8_t> copy, rest;
  Array(WeightForm form, size_t n) : form(form), copy(n * info(form).copy_bytes()), rest(n * info(form).rest_bytes) {}
  FormElements elements() { return {form, copy.data(), rest.data()}; }
};

std::vector<float> numbers(uint64_t seed) {
  RandomStream random(seed, Purpose::test);
  std::vector<float> x = {1.0f,        -1.0f,           0x1.fffffep0f, -0x1.ffff02p-3f, 0x1.8p-140f, -0x1.2p-149f,
                          0x1.0002p0f, 0x1.fdfffep127f, 0.0f,          0x1.000002p-126f};
  while (x.size() < 64) x.push_back(random.normal() * std::ldexp(1.0f, int(x.size()) - 30));
  return x;
}

/// Of all 2^16 random numbers, as the kernel rounds: element i of step t draws one of them; this looks for each once.
/// Whether the mean of what is stored is the number, exactly.
bool unbiased(float x, Isa isa) {
  const uint32_t magnitude = std::bit_cast<uint32_t>(x) & 0x7fffffffu;
  // Numbers of one magnitude are rounded up where the random one is at least 2^16 less what is cut off: the kernel
  // is asked on both sides of that border, and the mean is counted.
  const uint32_t cut = magnitude & 0xffff, down = magnitude >> 16;
  uint64_t ups = 0;
  std::vector<float> many(kUpdateUnit, x);
  Array a(WeightForm::bf16_sr, many.size());
  for (uint64_t step = 0; step < 64; ++step) {
    const RoundingKey key{9, Purpose::rounding, step, 0, 0};
    a.elements().store(isa, many.data(), many.size(), key);
    for (size_t i = 0; i < many.size(); ++i) {
      const uint32_t got = reinterpret_cast<const uint16_t*>(a.copy.data())[i] & 0x7fff;
      if (got != down + (rounding_bits(key, i) + cut > 0xffff)) return false;
    }
  }
  for (uint32_t r = 0; r < 0x10000; ++r) ups += r + cut > 0xffff;
  return (uint64_t(down) << 32) + (ups << 16) == uint64_t(magnitude) << 16;
}

/// 2^20 updates of 2^-12 up and down between 1 and 4: the distance of the sum, in units of bf16 at 2.
double drift(WeightForm form, Isa isa) {
  Array a(form, 1);
  float x = 1;
  a.elements().store(isa, &x, 1, {});
  double exact = 1;
  for (uint64_t t = 0; t < (1 << 20) - 5000; ++t) {
    const float by = t / 12288 % 2 == 0 ? 0x1p-12f : -0x1p-12f;
    exact += double(by);
    a.elements().load(isa, 1, &x);
    x += by;
    a.elements().store(isa, &x, 1, {1, Purpose::rounding, t, 0, 0});
  }
  a.elements().load(isa, 1, &x);
  return std::fabs(double(x) - exact) / 0x1p-6;
}

/// 4,096 updates of 2^-12 to 1,024 weights of 1, rounded at random: how far their mean is from 2. One weight spreads by
/// 0.09, so the mean by 0.003.
double mean_off(Isa isa) {
  std::vector<float> x(1024, 1.0f);
  Array a(WeightForm::bf16_sr, x.size());
  a.elements().store(isa, x.data(), x.size(), {});
  for (uint64_t t = 1; t <= 4096; ++t) {
    a.elements().load(isa, x.size(), x.data());
    for (float& v : x) v += 0x1p-12f;
    a.elements().store(isa, x.data(), x.size(), {1, Purpose::rounding, t, 0, 0});
  }
  a.elements().load(isa, x.size(), x.data());
  double sum = 0;
  for (const float v : x) sum += v;
  return std::fabs(sum / double(x.size()) - 2);
}

}  // namespace

Status check_bf16_accumulation(CheckContext& context) {
  context.not_built("reductions over ranks in bf16: they are f32");
  context.not_built("goldens of torchao's AdamW with random rounding");
  if (context.describe_only()) return {};

  const Isa isa = context.settings().isa;
  const std::vector<float> x = numbers(context.settings().seed);
  double mean = 0;
  for (const float v : x) mean += unbiased(v, isa);
  context.equal("numbers whose mean over all 2^16 random ones is exact", mean, double(x.size()));
  Array same(WeightForm::bf16_sr, x.size());
  double moved = 0, infinite = 0;
  for (uint64_t step = 0; step < 2000; ++step) {
    std::vector<float> have = x;
    for (float& v : have) v = std::bit_cast<float>(std::bit_cast<uint32_t>(v) & 0xffff0000u);
    have[0] = std::bit_cast<float>(0x7f7fffffu);  // above the largest of bf16
    same.elements().store(isa, have.data(), have.size(), {3, Purpose::rounding, step, 0, 0});
    std::vector<float> got(x.size());
    same.elements().load(isa, got.size(), got.data());
    infinite += std::isinf(got[0]);
    for (size_t i = 1; i < got.size(); ++i) moved += got[i] != have[i];
  }
  context.equal("numbers of bf16 that were rounded, of 126,000", moved, 0);
  context.equal("finite numbers that became infinite", infinite, 0);
  context.at_most("2^20 updates of 2^-12: distance of the compensated sum", drift(WeightForm::bf16_kahan, isa), 2,
                  "units");
  context.at_most("4,096 updates of 2^-12 rounded at random: distance of the mean of 1,024", mean_off(isa), 0.011);
  context.at_least("2^20 of the plain one", drift(WeightForm::bf16, isa), 60, "units");
  if (!context.proceed("training", 0.5)) return error(Code::cancelled, "stopped");

  for (const Bf16Sum sum : {Bf16Sum::random, Bf16Sum::kahan}) {
    TrialTraining trial;
    trial.options.isa = isa;
    trial.options.precision.weights = Format::bf16;
    trial.options.precision.master = Master::none;
    trial.options.precision.update = sum;
    trial.options.precision.gradients = Format::bf16;
    trial.options.precision.gradient_sums = sum;
    trial.options.shares = 4;
    trial.steps = 5;
    VIBEE_ASSIGN(const TrialTraining::Run one, trial.run(0));
    trial.options.threads = 2;
    VIBEE_ASSIGN(const TrialTraining::Run two, trial.run(0));
    const char* name = sum == Bf16Sum::kahan ? "kahan" : "sr";
    context.equal(fmt::format("{}: bytes of 5 steps on two threads equal to those on one", name),
                  two.state == one.state, 1);
    trial.options.precision.gradients = Format::f32;
    trial.options.precision.gradient_sums = Bf16Sum::nearest;
    VIBEE_ASSIGN(const TrialTraining::Run whole, trial.run(0));
    VIBEE_ASSIGN(const TrialTraining::Run ranks, trial.run(2));
    VIBEE_ASSIGN(const TrialTraining::Run four, trial.run(4));
    context.equal(fmt::format("{}: bytes of 4 shares on 1, 2 and 4 ranks equal", name),
                  ranks.state == whole.state && four.state == whole.state, 1);
  }
  return {};
}

}  // namespace vibee
