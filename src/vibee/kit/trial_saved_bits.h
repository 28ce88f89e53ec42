// SPDX-License-Identifier: Apache-2.0
// A small model whose gradients are compared over ways to keep its activations: sensitivities of saved values, and the
// variance that bits have.
#pragma once

#include <memory>

#include "vibee/model/arch/arch.h"
#include "vibee/train/loop/new_model.h"
#include "vibee/train/loop/saved_bits.h"

namespace vibee {

class TrialSavedBits {
 public:
  static constexpr uint32_t kRows = 96;
  static Result<std::unique_ptr<TrialSavedBits>> create(const NewModel& model, Isa isa) {
    auto t = std::make_unique<TrialSavedBits>();
    VIBEE_ASSIGN(const Checkpoint file, new_checkpoint(model, {}));
    VIBEE_ASSIGN(const ModelConfig config, read_config(file));
    RandomStream random(5, Purpose::test);
    for (uint32_t i = 0; i < kRows; ++i) {
      t->tokens_.push_back(int32_t(random.below(model.vocab)));
      t->targets_.push_back(int32_t(random.below(model.vocab)));
    }
    t->documents_.resize(kRows);
    t->weights_.assign(kRows, 1.0f / kRows);
    TrainStepOptions options;
    options.isa = isa;
    options.max_rows = kRows;
    VIBEE_ASSIGN(t->measured_, measure_sensitivity(file, config, options, t->batch()));
    VIBEE_ASSIGN(t->graph_, TrainStep::graph(file, config, options));
    VIBEE_ASSIGN(t->step_, TrainStep::create(file, config, options));
    VIBEE_ASSIGN(t->exact_, t->step_->gradients_of(t->graph_, t->batch(), 0));
    return t;
  }
  const SavedVariance& measured() const { return measured_; }
  /// The mean of |g - exact g|^2 over seeds.
  Result<double> variance(const SavedBits& bits, uint32_t seeds = 30) const {
    double sum = 0;
    for (uint32_t seed = 0; seed < seeds; ++seed) {
      VIBEE_ASSIGN(const std::vector<float> one,
                   step_->gradients_of(compress_activations(graph_, bits), batch(), 100 + seed));
      for (size_t i = 0; i < exact_.size(); ++i) sum += (double(one[i]) - exact_[i]) * (double(one[i]) - exact_[i]);
    }
    return sum / seeds;
  }
  /// Bits a number, over all saved values.
  double average(const SavedBits& bits) const {
    double used = 0, numbers = 0;
    for (size_t i = 0; i < measured_.values.size(); ++i) {
      used += double(bits.of(i)) * double(measured_.values[i].width);
      numbers += double(measured_.values[i].width);
    }
    return used / numbers;
  }

 private:
  TrainBatch batch() const { return {tokens_, targets_, documents_, weights_}; }
  std::vector<int32_t> tokens_, targets_, documents_;
  std::vector<float> weights_, exact_;
  SavedVariance measured_;
  Graph graph_;
  std::unique_ptr<TrainStep> step_;
};

}  // namespace vibee
