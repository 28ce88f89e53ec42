// SPDX-License-Identifier: Apache-2.0
// A training graph over random weights and documents, as a plan: for checks and benches of what passes and kernels do
// to its loss, its gradients, its memory and its time.
#pragma once

#include <cmath>
#include <map>
#include <memory>

#include "vibee/base/random/philox.h"
#include "vibee/core/measure/measure.h"
#include "vibee/graph/autodiff/differentiate.h"
#include "vibee/graph/exec/train_plan.h"
#include "vibee/graph/pass/activation_compression.h"
#include "vibee/graph/pass/gradient_checkpointing_v2.h"
#include "vibee/graph/pass/store_activations.h"
#include "vibee/model/arch/arch.h"
#include "vibee/model/layer/decoder.h"
#include "vibee/train/loop/new_model.h"

namespace vibee {

struct TrialGraphOptions {
  NewModel model;
  uint32_t experts = 0, experts_used = 2;  ///< of a llama, of width model.ff; 0: none
  uint32_t rows = 4, length = 32;          ///< documents of a step, rows of a document
  uint32_t threads = 1;
  Isa isa = detected_isa();
  Format compute = Format::f32;   ///< of activations
  Format weights = Format::f32;   ///< of matrices: f32, bf16, f16
  bool experts_too = false;       ///< `weights` of experts and what chooses them as well
  Format rounding = Format::f32;  ///< matrices are numbers of it, whatever they lie in
  Recompute recompute = Recompute::none;
  SavedBits saved;
};

/// A llama, a gpt2 or ("moe") a llama with experts, of three documents of 48 tokens.
inline TrialGraphOptions small_trial_graph(const std::string& architecture, uint32_t layers) {
  TrialGraphOptions o;
  o.model.architecture = architecture == "moe" ? "llama" : architecture;
  o.model.dim = 64;
  o.model.layers = layers;
  o.model.heads = 2;
  o.model.vocab = 96;
  o.model.context = 64;
  o.rows = 3;
  o.length = 48;
  if (architecture == "moe") o.experts = 5;
  return o;
}

class TrialGraph {
 public:
  static Result<std::unique_ptr<TrialGraph>> create(const TrialGraphOptions& o) {
    auto t = std::make_unique<TrialGraph>();
    VIBEE_ASSIGN(const Checkpoint file, new_checkpoint(o.model, {}));
    VIBEE_ASSIGN(ModelConfig config, read_config(file));
    config.experts = o.experts;
    config.experts_used = o.experts_used;
    config.expert_ff = config.ff;
    const auto format_of = [&](std::string_view name) {
      const bool experts = name.find("_exps.") != name.npos || name.find("ffn_gate_inp.") != name.npos;
      return experts && !o.experts_too ? Format::f32 : o.weights;
    };
    VIBEE_ASSIGN(const Graph loss, DecoderBuilder(config, format_of).build_training());
    VIBEE_ASSIGN(const Graph joint, differentiate(loss, trainable_weights(loss)));
    t->graph_ = compress_activations(recompute(store_activations(joint, o.compute), o.recompute), o.saved);
    uint32_t tensor = 0;
    for (const Node& node : t->graph_.nodes)
      if (node.op == Op::weight) t->fill(node, ++tensor, info(o.rounding));
    const TrainOptions options{o.rows * o.length, o.threads, o.isa};
    VIBEE_ASSIGN(t->plan_,
                 TrainPlan::compile(
                     t->graph_, [&](std::string_view name) { return t->weights_.find(name)->second.data(); }, options));
    RandomStream random(1, Purpose::test);
    for (uint32_t r = 0; r < options.max_rows; ++r) {
      t->tokens_.push_back(int32_t(random.below(o.model.vocab)));
      t->targets_.push_back(int32_t(random.below(o.model.vocab)));
      t->documents_.push_back(int32_t(r / o.length * o.length));
      t->positions_.push_back(int32_t(r % o.length));
    }
    t->factors_.assign(options.max_rows, 1.0f / float(options.max_rows));
    t->team_ = std::make_unique<Team>(o.threads);
    return t;
  }

  /// Loss and gradients; gives the seconds that they took. `rounding`: seed and step of what is rounded at random.
  Result<double> step(const RoundingKey& rounding = {}) {
    const std::pair<std::string_view, std::span<const int32_t>> integers[] = {
        {"tokens", tokens_}, {"positions", positions_}, {"documents", documents_}, {"targets", targets_}};
    const std::pair<std::string_view, std::span<const float>> floats[] = {{"loss_weights", factors_}};
    const Timer timer;
    VIBEE_TRY(plan_->run(*team_, {integers, floats, rounding}));
    return timer.seconds();
  }
  const Graph& graph() const { return graph_; }
  uint64_t arena() const { return plan_->arena_size(); }
  float loss() const { return plan_->output(0)[0]; }
  /// Of all weights, one behind the other.
  std::vector<float> gradients() const {
    std::vector<float> all;
    for (size_t o = 1; o < graph_.outputs.size(); ++o) {
      const std::span<const float> g = plan_->output(o);
      all.insert(all.end(), g.begin(), g.end());
    }
    return all;
  }
  /// Bytes of values that the forward part makes and the backward part reads, by how they lie.
  struct Kept {
    uint64_t floats = 0, sixteen = 0, compressed = 0;
    uint64_t sum() const { return floats + sixteen + compressed; }
  };
  Kept kept() const {
    std::vector<bool> read(graph_.values.size());
    for (const Node& node : graph_.nodes)
      for (const ValueId id : node.in) read[id] = read[id] || node.has("phase");
    Kept kept;
    for (ValueId id = 0; id < graph_.values.size(); ++id) {
      const Node& from = graph_.producer(id);
      if (!read[id] || from.has("phase") || info(from.op).level == OpLevel::source) continue;
      const uint64_t size = bytes(graph_.type(id), {int64_t(tokens_.size()), 0});
      const Elem elem = graph_.type(id).elem;
      (elem.is_f32() ? kept.floats : elem.kind == Elem::compressed ? kept.compressed : kept.sixteen) += size;
    }
    return kept;
  }

 private:
  void fill(const Node& node, uint32_t tensor, const NumericFormat& rounding) {
    const Type& type = graph_.type(node.out[0]);
    const std::string name(node.text("name"));
    std::vector<float> values(size_t(elements(type, {})));
    RandomStream random(2, Purpose::test, tensor);
    const bool vector = type.dims.size() == 1, bias = name.ends_with(".bias");
    for (float& x : values) x = vector ? (bias ? 0.0f : 1.0f) : 0.02f * random.normal();
    const auto k = uint64_t(type.dims.back().n), rows = values.size() / k;
    std::vector<uint8_t> rounded(rows * rounding.row_bytes(k));
    rounding.encode_rows(values.data(), rows, k, nullptr, rounded.data());
    rounding.decode_rows(rounded.data(), rows, k, values.data());
    const NumericFormat& format = info(type.elem.format);
    weights_[name].resize(rows * format.row_bytes(k));
    format.encode_rows(values.data(), rows, k, nullptr, weights_[name].data());
  }

  Graph graph_;
  std::map<std::string, std::vector<uint8_t>, std::less<>> weights_;
  std::vector<int32_t> tokens_, targets_, documents_, positions_;
  std::vector<float> factors_;
  std::unique_ptr<TrainPlan> plan_;
  std::unique_ptr<Team> team_;
};

/// |a - b| / |b|.
inline double relative_distance(std::span<const float> a, std::span<const float> b) {
  double error = 0, size = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    error += (double(a[i]) - b[i]) * (double(a[i]) - b[i]);
    size += double(b[i]) * b[i];
  }
  return std::sqrt(error / size);
}

}  // namespace vibee
