// SPDX-License-Identifier: Apache-2.0
// Runs of training in other numbers, from the same weights and rows: what benches of precision compare. Models are
// small (2 layers), so that a bench takes minutes; how small is said beside each figure.
#pragma once

#include "vibee/core/measure/measure.h"
#include "vibee/core/technique/context.h"
#include "vibee/kit/trial_training.h"

namespace vibee {

/// Steps of a model of 20 M parameters (7 where it is to be quick) with products by a recipe, beside steps in f32: how
/// many times as fast, of what is aimed at; 0: of nothing.
inline Status bench_step(std::string_view recipe, double aim, BenchContext& context) {
  const RunSettings& settings = context.settings();
  const bool quick = settings.quick;
  TrialTraining model;
  model.options.isa = settings.isa;
  model.options.threads = settings.threads;
  model.model.vocab = 256;
  model.model.dim = 384;
  model.model.heads = 6;
  model.model.layers = quick ? 4 : 12;
  model.rows = 8;
  model.length = 128;
  model.steps = quick ? 4 : 6;
  model.keep_state = false;
  std::vector<double> plain, rounded;
  for (int i = 0; i < (quick ? 3 : 5); ++i) {
    if (!context.proceed("a step", 0.2 + 0.04 * i)) return {};
    for (const std::string_view products : {std::string_view("f32"), recipe}) {
      model.options.precision.products = find_product_recipe(products);
      VIBEE_ASSIGN(const TrialTraining::Run run, model.run(0));
      auto& to = model.options.precision.products->forward.plain() ? plain : rounded;
      to.insert(to.end(), run.seconds.begin() + 1, run.seconds.end());
    }
  }
  const PairedRatio step = paired_ratio(plain, rounded);
  VIBEE_ASSIGN(const TrainStep::Memory memory, model.memory());
  const std::string what = fmt::format("speed of a step over f32, products {}", recipe);
  const std::string of = fmt::format("{:.1f} M parameters, {} x {} tokens; {:.3f} to {:.3f} at 95 %",
                                     double(memory.weights) / 4e6, model.rows, model.length, step.low, step.high);
  if (aim > 0)
    context.target(what, step.ratio, "x", aim, of);
  else
    context.figure(what, step.ratio, "x", 0, of);
  return {};
}

class TrialPrecision {
 public:
  explicit TrialPrecision(const RunSettings& settings) : seeds_(settings.quick ? 1 : 3), seed_(settings.seed) {
    const bool quick = settings.quick;
    t_.model.dim = quick ? 32 : 64;
    t_.model.heads = 2;
    t_.rows = 8;
    t_.length = 64;
    t_.held_out = quick ? 32 : 256;
    t_.options.isa = settings.isa;
    t_.options.clip = 1;
    set_steps(quick ? 150 : 2000);
  }
  void set_steps(uint32_t steps) {
    t_.steps = steps;
    Schedule rates;
    rates.steps = steps, rates.warmup = steps / 20, rates.rate = 2e-3, rates.final_rate = 1e-5;
    t_.rates = rates;
  }
  /// Saved values lie in so many bits from now on.
  void save(const SavedBits& bits) { t_.options.saved = bits; }
  /// Products are computed by a recipe of that name from now on.
  void multiply(std::string_view recipe) { t_.options.precision.products = find_product_recipe(recipe); }
  Status prepare() { return t_.tell_stories(1 << 20); }
  std::string size() const {
    return fmt::format("width {}, 2 layers, {} steps of {} tokens, mean of {} seeds", t_.model.dim, t_.steps,
                       t_.rows * t_.length, seeds_);
  }
  Result<TrialTraining::Run> run(Format compute, Master master, Bf16Sum update = Bf16Sum::nearest,
                                 LossScaling::Kind loss_scale = LossScaling::Kind::none) {
    Precision& p = t_.options.precision;
    p.activations = p.weights = compute, p.master = master, p.update = update, p.loss_scale.kind = loss_scale;
    return t_.run(0);
  }
  /// What is learnt: the held-out loss and the steps that were skipped, from the same weights and rows in all numbers.
  struct Learnt {
    double loss = 0;
    uint32_t skipped = 0;
  };
  Result<Learnt> learn(Format compute, Master master, Bf16Sum update = Bf16Sum::nearest,
                       LossScaling::Kind loss_scale = LossScaling::Kind::none) {
    Learnt mean;
    for (uint32_t i = 0; i < seeds_; ++i) {
      t_.model.seed = t_.options.precision.seed = seed_ + i;
      VIBEE_ASSIGN(const TrialTraining::Run one, run(compute, master, update, loss_scale));
      mean.loss += one.held_out / seeds_;
      mean.skipped += one.skipped;
    }
    return mean;
  }

 private:
  TrialTraining t_;
  uint32_t seeds_;
  uint64_t seed_;
};

}  // namespace vibee
