// SPDX-License-Identifier: Apache-2.0
#include "vibee/train/precision/loss_scaling.h"

#include <cmath>
#include <thread>

#include "vibee/base/random/philox.h"
#include "vibee/core/technique/context.h"
#include "vibee/kit/trial_training.h"

namespace vibee {
namespace {

/// The rules once more, over 10,000 steps that overflow at random; how many scales differ.
uint32_t other_scales(uint32_t hysteresis) {
  LossScaling options;
  options.kind = LossScaling::Kind::dynamic;
  options.window = 20;
  options.hysteresis = hysteresis;
  LossScaler scaler(options);
  RandomStream random(1, Purpose::test, hysteresis);
  int exponent = 16, good = 0, left = int(hysteresis);
  uint32_t others = 0;
  for (int t = 0; t < 10000; ++t) {
    const bool overflow = random.below(1000) < (t / 1000 % 2 == 0 ? 20u : 200u);
    scaler.step(!overflow);
    if (overflow) {
      good = 0;
      if (--left <= 0) exponent = std::max(exponent - 1, 0);
    } else if (++good == 20) {
      good = 0, left = int(hysteresis), exponent = std::min(exponent + 1, 24);
    }
    others += scaler.scale() != std::ldexp(1.0, exponent);
  }
  return others;
}

/// One element of one rank of two overflows: whether both ranks skip it, halve the scale and change nothing else.
Result<bool> skipped_on_both(TrialTraining trial) {
  VIBEE_ASSIGN(const Checkpoint file, new_checkpoint(trial.model, {}));
  VIBEE_ASSIGN(const ModelConfig config, read_config(file));
  trial.options.shares = 2;
  trial.options.max_rows = 8;
  trial.options.precision.loss_scale.kind = LossScaling::Kind::dynamic;
  auto ends = local_network(2);
  bool same[2] = {};
  Status statuses[2];
  const auto run = [&](uint32_t r, CommThread& comm) -> Status {
    TrainStepOptions options = trial.options;
    options.ranks = &comm;
    VIBEE_ASSIGN(const auto step, TrainStep::create(file, config, options));
    const auto state = [&] {
      std::vector<uint8_t> all;
      for (const StatePart& part : step->state())
        if (part.name != "loss scale") all.insert(all.end(), part.bytes.begin(), part.bytes.end());
      return all;
    };
    const std::vector<uint8_t> before = state();
    const std::vector<int32_t> tokens = {1, 2, 3, 4}, targets = {2, 3, 4, 5}, documents(4, 0);
    std::vector<float> weights(4, 0.125f);
    if (r == 1) weights[2] = 1e36f;  // times 65536 is infinite
    VIBEE_TRY(step->add({tokens, targets, documents, weights}));
    VIBEE_ASSIGN(const TrainUpdate update, step->update());
    same[r] = update.skipped() && state() == before && step->steps() == 0 && step->loss_scale() == 32768;
    return {};
  };
  std::vector<std::thread> threads;
  for (uint32_t r = 0; r < 2; ++r)
    threads.emplace_back([&, r] {
      CommThread comm(std::move(ends[r]));
      statuses[r] = run(r, comm);
      if (!statuses[r].ok()) comm.abort(statuses[r].message());
    });
  for (std::thread& thread : threads) thread.join();
  for (Status& status : statuses) VIBEE_TRY(std::move(status));
  return same[0] && same[1];
}

}  // namespace

Status check_loss_scaling(CheckContext& context) {
  context.not_built("scales of single tensors, chosen by what is flushed to zero (auto)");
  if (context.describe_only()) return {};

  // Weights, moments and losses of scaled steps, one part and four.
  for (const uint32_t shares : {1, 4}) {
    TrialTraining trial;
    trial.options.isa = context.settings().isa;
    trial.options.clip = 0.5;
    trial.options.shares = shares;
    trial.steps = 20;
    VIBEE_ASSIGN(const TrialTraining::Run plain, trial.run(0));
    for (const double scale : {0.5, 1024.0, 65536.0}) {
      trial.options.precision.loss_scale.kind = LossScaling::Kind::fixed;
      trial.options.precision.loss_scale.scale = scale;
      VIBEE_ASSIGN(TrialTraining::Run scaled, trial.run(0));
      scaled.state.resize(plain.state.size());  // without what the scaler keeps, which is last
      context.equal(fmt::format("20 steps of {} parts at scale {}: bytes equal to those without", shares, scale),
                    scaled.state == plain.state, 1);
    }
  }
  if (!context.proceed("training", 0.6)) return error(Code::cancelled, "stopped");
  for (const uint32_t hysteresis : {1, 2})
    context.equal(fmt::format("scales of 10,000 steps that are not the rules', hysteresis {}", hysteresis),
                  other_scales(hysteresis), 0);
  TrialTraining trial;
  trial.options.isa = context.settings().isa;
  VIBEE_ASSIGN(const bool skipped, skipped_on_both(trial));
  context.equal("an overflow on one rank of two: both skip the step and halve the scale, and nothing else changes",
                skipped, 1);

  // What f16 keeps of a gradient.
  const FormKernels& f16 = info(WeightForm::f16).kernels[size_t(context.settings().isa)];
  const auto kept = [&](float gradient, float scale) {
    float x = gradient * scale;
    alignas(2) uint8_t copy[2];
    f16.store(&x, 1, {}, copy, nullptr);
    f16.load(copy, nullptr, 1, &x);
    return double(x / scale);
  };
  context.equal("a gradient of 2^-26 in f16 at scale 1", kept(0x1p-26f, 1), 0);
  context.equal("at scale 2^12, times 2^26", kept(0x1p-26f, 0x1p12f) * 0x1p26, 1);
  return {};
}

}  // namespace vibee
