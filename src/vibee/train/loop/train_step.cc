// SPDX-License-Identifier: Apache-2.0
#include "vibee/train/loop/train_step.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "vibee/base/memory/checked.h"
#include "vibee/graph/autodiff/differentiate.h"
#include "vibee/model/layer/decoder.h"

namespace vibee {
namespace {

/// The joint graph of a model and where its weights lie.
struct Joint {
  Graph graph;
  std::vector<TrainStep::Weight> weights;
  std::vector<uint32_t> trained;
  uint64_t floats = 0;
};

Result<Joint> joint_of(const ModelConfig& config) {
  VIBEE_ASSIGN(const Graph loss, DecoderBuilder(config, [](std::string_view) { return Format::f32; }).build_training());
  const std::vector<std::string> names = trainable_weights(loss);
  Joint j;
  VIBEE_ASSIGN(j.graph, differentiate(loss, names));
  for (const Node& node : j.graph.nodes) {
    if (node.op != Op::weight) continue;
    const Type& type = j.graph.type(node.out[0]);
    const std::string name(node.text("name"));
    const bool trained = std::find(names.begin(), names.end(), name) != names.end();
    const auto count = uint64_t(elements(type, {}));
    j.weights.push_back({name, type.dims.size() > 1, trained, j.floats, count});
    j.floats += round_up(count, 16);
  }
  for (const std::string& name : names)
    for (uint32_t i = 0; i < j.weights.size(); ++i)
      if (j.weights[i].name == name) j.trained.push_back(i);
  return j;
}

Result<TrainStep::Memory> memory_of(const Joint& joint, const TrainStepOptions& options) {
  VIBEE_ASSIGN(const uint64_t arena,
               TrainPlan::arena_bytes(joint.graph, {options.max_rows, options.threads, options.isa}));
  return TrainStep::Memory{4 * joint.floats, 8 * joint.floats, arena};
}

/// A tensor, or rows of it, as floats.
Status read_floats(const Checkpoint& file, const TrainStep::Weight& weight, uint64_t rows, float* to) {
  const WeightPart part = weight_part(weight.name);
  VIBEE_ASSIGN(const TensorInfo* tensor, file.tensor(part.tensor));
  const NumericFormat& format = info(tensor->format);
  const uint64_t row = weight.count / rows;
  if (row % format.block_elems != 0)
    return error(Code::unsupported, "{}: tensor '{}' is in {}, whose blocks do not fit its rows of {}", file.path(),
                 tensor->name, format.name, row);
  std::vector<uint8_t> raw(format.row_bytes(row));
  for (uint64_t r = 0; r < rows; ++r) {
    VIBEE_TRY(file.read(*tensor, (uint64_t(part.first) + r) * raw.size(), raw));
    format.decode(raw.data(), row, to + r * row);
  }
  return {};
}

}  // namespace

Result<TrainStep::Memory> TrainStep::memory(const ModelConfig& config, const TrainStepOptions& options) {
  VIBEE_ASSIGN(const Joint joint, joint_of(config));
  return memory_of(joint, options);
}

Result<std::unique_ptr<TrainStep>> TrainStep::create(const Checkpoint& file, const ModelConfig& config,
                                                     const TrainStepOptions& options) {
  VIBEE_ASSIGN(Joint joint, joint_of(config));
  VIBEE_ASSIGN(const Memory memory, memory_of(joint, options));
  if (memory.sum() > available_memory())
    return error(Code::no_memory,
                 "{}: training takes {} MiB (weights {}, moments {}, a step of {} rows {}), {} MiB are available; take "
                 "fewer rows a step or a smaller model",
                 file.path(), memory.sum() >> 20, memory.weights >> 20, memory.moments >> 20, options.max_rows,
                 memory.arena >> 20, available_memory() >> 20);
  auto s = std::make_unique<TrainStep>();
  s->options_ = options;
  s->weights_ = std::move(joint.weights);
  s->trained_ = std::move(joint.trained);
  VIBEE_ASSIGN(s->values_, HugeBuffer::allocate(memory.weights));
  VIBEE_ASSIGN(s->first_, HugeBuffer::allocate(memory.moments / 2));
  VIBEE_ASSIGN(s->second_, HugeBuffer::allocate(memory.moments / 2));
  std::fill_n(s->first_.as<float>(0), joint.floats, 0.0f);
  std::fill_n(s->second_.as<float>(0), joint.floats, 0.0f);
  size_t next = 0;
  for (const Node& node : joint.graph.nodes) {
    if (node.op != Op::weight) continue;
    const Weight& weight = s->weights_[next++];
    const std::vector<Dim>& dims = joint.graph.type(node.out[0]).dims;
    const uint64_t rows = weight.matrix ? weight.count / uint64_t(dims.back().n) : weight.count;
    VIBEE_TRY(read_floats(file, weight, rows, s->values_.as<float>(4 * weight.at)));
  }
  TrainStep* self = s.get();
  const auto place = [self](std::string_view name) -> float* {
    for (const Weight& w : self->weights_)
      if (w.name == name) return self->values_.as<float>(4 * w.at);
    return nullptr;
  };
  VIBEE_ASSIGN(s->plan_,
               TrainPlan::compile(std::move(joint.graph), place, {options.max_rows, options.threads, options.isa}));
  s->team_ = std::make_unique<Team>(options.threads);
  s->positions_.reserve(options.max_rows);
  return s;
}

Result<float> TrainStep::run(const TrainBatch& batch) {
  if (batch.tokens.size() > options_.max_rows || batch.documents.size() != batch.tokens.size())
    return error(Code::invalid, "a step of {} rows and {} documents' rows; a step has {} rows at most",
                 batch.tokens.size(), batch.documents.size(), options_.max_rows);
  positions_.clear();
  for (size_t r = 0; r < batch.documents.size(); ++r) positions_.push_back(int32_t(r) - batch.documents[r]);
  const std::pair<std::string_view, std::span<const int32_t>> integers[] = {
      {"tokens", batch.tokens}, {"positions", positions_}, {"documents", batch.documents}, {"targets", batch.targets}};
  const std::pair<std::string_view, std::span<const float>> floats[] = {{"loss_weights", batch.weights}};
  VIBEE_TRY(plan_->run(*team_, {integers, floats}));
  const float loss = plan_->output(0)[0];
  const AdamWKernel update = adamw_kernel(options_.isa);
  std::atomic<bool> finite = std::isfinite(loss);
  team_->run([&](uint32_t tid) {
    const auto mine = [&](uint64_t n) {  // whole vectors of 16
      const Range blocks = share(uint32_t((n + 15) / 16), tid, options_.threads);
      return std::pair(std::min<uint64_t>(n, 16ull * blocks.begin), std::min<uint64_t>(n, 16ull * blocks.end));
    };
    for (size_t i = 0; i < trained_.size(); ++i) {
      const std::span<const float> g = plan_->output(i + 1);
      const auto [begin, end] = mine(g.size());
      float sum = 0;  // x - x is 0 for finite x only
      for (uint64_t e = begin; e < end; ++e) sum += g[e] - g[e];
      if (sum != 0) finite.store(false, std::memory_order_relaxed);
    }
    team_->barrier();
    if (!finite.load(std::memory_order_relaxed)) return;
    for (size_t i = 0; i < trained_.size(); ++i) {
      const Weight& w = weights_[trained_[i]];
      const auto [begin, end] = mine(w.count);
      const uint64_t at = 4 * (w.at + begin);
      update(adamw_step(options_.optimiser, steps_ + 1, w.matrix), plan_->output(i + 1).data() + begin, end - begin,
             values_.as<float>(at), first_.as<float>(at), second_.as<float>(at));
    }
  });
  if (!finite)
    return error(Code::invalid, "step {}: the loss ({}) or a gradient is not finite; no weight was changed", steps_ + 1,
                 loss);
  ++steps_;
  return loss;
}

std::span<const float> TrainStep::values(const Weight& weight) const {
  return {values_.as<const float>(4 * weight.at), weight.count};
}

}  // namespace vibee
