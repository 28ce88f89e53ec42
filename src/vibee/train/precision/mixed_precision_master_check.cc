// SPDX-License-Identifier: Apache-2.0
#include <bit>
#include <cmath>
#include <cstring>

#include "vibee/core/technique/context.h"
#include "vibee/kit/trial_training.h"

namespace vibee {
namespace {

Precision in(Format compute, Master master) {
  Precision p;
  p.activations = p.weights = compute, p.master = master;
  return p;
}

/// Where the weights of the trial's model lie, and their moments, behind so many steps.
struct Learnt {
  std::vector<std::vector<float>> weights;
  std::vector<float> moments;  ///< first ones
  std::vector<uint8_t> copies;
};
Result<Learnt> learn(const TrialTraining& trial, uint32_t steps) {
  VIBEE_ASSIGN(const Checkpoint file, new_checkpoint(trial.model, {}));
  VIBEE_ASSIGN(const ModelConfig config, read_config(file));
  TrainStepOptions options = trial.options;
  options.max_rows = trial.rows * trial.length;
  VIBEE_ASSIGN(const auto step, TrainStep::create(file, config, options));
  TrialTraining::Run run;
  TrialTraining once = trial;
  once.steps = steps;
  VIBEE_TRY(once.learn(*step, &run));
  Learnt l;
  for (const TrainStep::Weight& w : step->weights())
    if (w.matrix) l.weights.push_back(step->values(w));
  for (const StatePart& part : step->state()) {
    if (part.name == "weights") l.copies.assign(part.bytes.begin(), part.bytes.end());
    if (part.name != "first moments") continue;
    l.moments.resize(part.bytes.size() / 4);
    std::memcpy(l.moments.data(), part.bytes.data(), part.bytes.size());
  }
  return l;
}

double distance(const std::vector<float>& a, const std::vector<float>& b) {
  double error = 0, all = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    error += (double(a[i]) - b[i]) * (double(a[i]) - b[i]);
    all += double(b[i]) * b[i];
  }
  return std::sqrt(error / all);
}

/// How many of 2^16 upper halves, each with lower halves at which rounding turns, do not come back.
uint32_t lost_of_split(Isa isa) {
  constexpr uint32_t kLower[] = {0, 1, 0x7fff, 0x8000, 0x8001, 0xffff, 0x5a5a, 0xa5a5};
  const WeightFormInfo& form = info(WeightForm::bf16_split);
  uint32_t lost = 0;
  for (uint32_t hi = 0; hi < 0x10000; ++hi) {
    float x[8], back[8];
    alignas(16) uint8_t copy[16], rest[16];
    for (int i = 0; i < 8; ++i) x[i] = std::bit_cast<float>(hi << 16 | kLower[i]);
    form.kernels[size_t(isa)].store(x, 8, {}, copy, rest);
    form.kernels[size_t(isa)].load(copy, rest, 8, back);
    lost += std::memcmp(x, back, sizeof x) != 0;
  }
  return lost;
}

}  // namespace

Status check_mixed_precision_master(CheckContext& context) {
  context.not_built("experts, routers and norms in 16 bits; an average of weights (EMA)");
  context.not_built("values in 16 bits are widened for products, which precision.products=bf16 multiplies as they are; AVX512-BF16, CUDA");
  if (context.describe_only()) return {};

  TrialTraining trial;
  trial.options.isa = context.settings().isa;
  trial.options.precision = in(Format::bf16, Master::f32);
  VIBEE_ASSIGN(const Learnt master, learn(trial, 500));
  trial.options.precision = in(Format::bf16, Master::split);
  VIBEE_ASSIGN(const Learnt split, learn(trial, 500));
  context.equal("500 steps: weights of split masters equal to those of masters, bit for bit",
                split.weights == master.weights && split.copies == master.copies && split.moments == master.moments, 1);
  context.equal("numbers that split masters do not keep, of 2^16 upper halves x 8 lower ones",
                lost_of_split(context.settings().isa), 0);
  if (!context.proceed("training", 0.4)) return error(Code::cancelled, "stopped");

  // Updates of a hundred-thousandth of a weight: half a unit of bf16 is two hundred times that.
  trial.model.spread = 1;
  trial.options.optimiser.rate = 1e-5;
  trial.options.optimiser.decay = 0;
  const auto moved = [&](const Precision& precision) -> Result<double> {
    trial.options.precision = precision;
    VIBEE_ASSIGN(const Learnt before, learn(trial, 0));
    VIBEE_ASSIGN(const Learnt after, learn(trial, 20));
    double sum = 0;
    for (size_t w = 0; w < before.weights.size(); ++w)
      for (size_t i = 0; i < before.weights[w].size(); ++i)
        if (std::fabs(before.weights[w][i]) > 0.25)
          sum += std::fabs(double(after.weights[w][i]) - before.weights[w][i]);
    return sum;
  };
  VIBEE_ASSIGN(const double with, moved(in(Format::bf16, Master::f32)));
  VIBEE_ASSIGN(const double without, moved(in(Format::bf16, Master::none)));
  context.at_least("20 updates of 1e-5: what masters moved", with, 1e-3);
  context.equal("what bf16 weights without masters moved", without, 0);

  trial = TrialTraining();
  trial.options.isa = context.settings().isa;
  trial.options.clip = 0;
  const auto gradients = [&](const Precision& precision) {
    trial.options.precision = precision;
    return learn(trial, 1);
  };
  VIBEE_ASSIGN(const Learnt exact, gradients({}));
  VIBEE_ASSIGN(const Learnt bf16, gradients(in(Format::bf16, Master::f32)));
  Precision scaled = in(Format::f16, Master::f32);
  scaled.loss_scale.kind = LossScaling::Kind::dynamic;
  VIBEE_ASSIGN(const Learnt f16, gradients(scaled));
  context.at_most("gradients in bf16 beside f32, relative", distance(bf16.moments, exact.moments), 0x1p-7);
  context.at_most("gradients in f16 with a loss scale beside f32, relative", distance(f16.moments, exact.moments),
                  0x1p-10);
  return {};
}

}  // namespace vibee
