// SPDX-License-Identifier: Apache-2.0
// Runs of training in other numbers, from the same weights and rows: what benches of precision compare. Models are
// small (2 layers), so that a bench takes minutes; how small is said beside each figure.
#pragma once

#include "vibee/core/technique/context.h"
#include "vibee/kit/trial_training.h"

namespace vibee {

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
