// SPDX-License-Identifier: Apache-2.0
#include "vibee/train/loop/train_step.h"

#include <algorithm>
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
  return TrainStep::Memory{4 * joint.floats, 8 * joint.floats, options.accumulate ? 4 * joint.floats : 0, arena};
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

/// The elements of n that a thread works on: whole vectors of 16.
std::pair<uint64_t, uint64_t> slice_of(uint64_t n, uint32_t tid, uint32_t threads) {
  const Range blocks = share(uint32_t((n + 15) / 16), tid, threads);
  return {std::min<uint64_t>(n, 16ull * blocks.begin), std::min<uint64_t>(n, 16ull * blocks.end)};
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
                 "{}: training takes {} MiB (weights {}, moments {}, gradients {}, a step of {} rows {}), {} MiB are "
                 "available; take "
                 "fewer rows a step or a smaller model",
                 file.path(), memory.sum() >> 20, memory.weights >> 20, memory.moments >> 20, memory.gradients >> 20,
                 options.max_rows, memory.arena >> 20, available_memory() >> 20);
  auto s = std::make_unique<TrainStep>();
  s->options_ = options;
  s->weights_ = std::move(joint.weights);
  s->trained_ = std::move(joint.trained);
  VIBEE_ASSIGN(s->values_, HugeBuffer::allocate(memory.weights));
  VIBEE_ASSIGN(s->first_, HugeBuffer::allocate(memory.moments / 2));
  VIBEE_ASSIGN(s->second_, HugeBuffer::allocate(memory.moments / 2));
  if (options.accumulate) {
    VIBEE_ASSIGN(s->gradients_, HugeBuffer::allocate(memory.gradients));
  }
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

Status TrainStep::forward(const TrainBatch& batch) {
  if (batch.tokens.size() > options_.max_rows || batch.documents.size() != batch.tokens.size())
    return error(Code::invalid, "a step of {} rows and {} documents' rows; a step has {} rows at most",
                 batch.tokens.size(), batch.documents.size(), options_.max_rows);
  positions_.clear();
  for (size_t r = 0; r < batch.documents.size(); ++r) positions_.push_back(int32_t(r) - batch.documents[r]);
  const std::pair<std::string_view, std::span<const int32_t>> integers[] = {
      {"tokens", batch.tokens}, {"positions", positions_}, {"documents", batch.documents}, {"targets", batch.targets}};
  const std::pair<std::string_view, std::span<const float>> floats[] = {{"loss_weights", batch.weights}};
  return plan_->run(*team_, {integers, floats});
}

Result<float> TrainStep::evaluate(const TrainBatch& batch) {
  VIBEE_CHECK(parts_ == 0, "inside a step");
  VIBEE_TRY(forward(batch));
  return plan_->output(0)[0];
}

std::span<const float> TrainStep::gradient(size_t i) const {
  const Weight& w = weights_[trained_[i]];
  return options_.accumulate ? std::span(gradients_.as<const float>(4 * w.at), w.count) : plan_->output(i + 1);
}

Status TrainStep::add(const TrainBatch& part) {
  VIBEE_CHECK(options_.accumulate || parts_ == 0, "a step of several parts");
  Status ran = forward(part);
  if (!ran.ok()) {
    parts_ = 0;
    return ran;
  }
  loss_ = parts_ == 0 ? plan_->output(0)[0] : loss_ + plan_->output(0)[0];
  if (options_.accumulate)
    team_->run([&](uint32_t tid) {
      for (size_t i = 0; i < trained_.size(); ++i) {
        const std::span<const float> g = plan_->output(i + 1);
        float* const sum = gradients_.as<float>(4 * weights_[trained_[i]].at);
        const auto [begin, end] = slice_of(g.size(), tid, options_.threads);
        for (uint64_t e = begin; e < end; ++e) sum[e] = parts_ == 0 ? g[e] : sum[e] + g[e];
      }
    });
  ++parts_;
  return {};
}

Result<TrainUpdate> TrainStep::update() {
  VIBEE_CHECK(parts_ > 0, "a step without parts");
  parts_ = 0;
  // Squares are summed in blocks of one size, so the norm does not depend on the threads.
  constexpr uint64_t kBlock = 1 << 14;
  std::vector<uint64_t> first_block = {0};
  for (const uint32_t i : trained_)
    first_block.push_back(first_block.back() + (weights_[i].count + kBlock - 1) / kBlock);
  std::vector<double> squares(first_block.back());
  team_->run([&](uint32_t tid) {
    const Range mine = share(uint32_t(squares.size()), tid, options_.threads);
    size_t i = 0;
    for (uint64_t b = mine.begin; b < mine.end; ++b) {
      while (first_block[i + 1] <= b) ++i;
      const std::span<const float> g = gradient(i);
      const uint64_t begin = (b - first_block[i]) * kBlock;
      double sum = 0;
      for (uint64_t e = begin; e < std::min<uint64_t>(begin + kBlock, g.size()); ++e) sum += double(g[e]) * g[e];
      squares[b] = sum;
    }
  });
  double norm = 0;
  for (const double square : squares) norm += square;
  norm = std::sqrt(norm);
  // Squares of floats do not overflow doubles: the norm is finite where the gradients are.
  if (!std::isfinite(loss_) || !std::isfinite(norm))
    return error(Code::invalid, "step {}: the loss ({}) or a gradient is not finite; no weight was changed", steps_ + 1,
                 loss_);
  const float scale = options_.clip > 0 && norm > options_.clip ? float(options_.clip / norm) : 1.0f;
  const AdamWKernel kernel = adamw_kernel(options_.isa);
  team_->run([&](uint32_t tid) {
    for (size_t i = 0; i < trained_.size(); ++i) {
      const Weight& w = weights_[trained_[i]];
      const auto [begin, end] = slice_of(w.count, tid, options_.threads);
      const uint64_t at = 4 * (w.at + begin);
      AdamWStep step = adamw_step(options_.optimiser, steps_ + 1, w.matrix);
      step.scale = scale;
      kernel(step, gradient(i).data() + begin, end - begin, values_.as<float>(at), first_.as<float>(at),
             second_.as<float>(at));
    }
  });
  ++steps_;
  return TrainUpdate{loss_, norm};
}

Result<float> TrainStep::run(const TrainBatch& batch) {
  VIBEE_TRY(add(batch));
  VIBEE_ASSIGN(const TrainUpdate done, update());
  return done.loss;
}

std::array<std::span<uint8_t>, 3> TrainStep::state() {
  const Weight& last = weights_.back();
  const size_t bytes = 4 * round_up(last.at + last.count, 16);
  return {std::span(values_.as<uint8_t>(0), bytes), {first_.as<uint8_t>(0), bytes}, {second_.as<uint8_t>(0), bytes}};
}

std::span<const float> TrainStep::values(const Weight& weight) const {
  return {values_.as<const float>(4 * weight.at), weight.count};
}

}  // namespace vibee
