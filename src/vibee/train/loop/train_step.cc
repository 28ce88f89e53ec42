// SPDX-License-Identifier: Apache-2.0
#include "vibee/train/loop/train_step.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "vibee/base/memory/checked.h"
#include "vibee/base/random/philox.h"
#include "vibee/core/measure/measure.h"
#include "vibee/graph/autodiff/differentiate.h"

namespace vibee {
namespace {

/// The joint graph of a model and where its weights lie.
struct Joint {
  Graph graph;
  std::vector<TrainStep::Weight> weights;
  std::vector<uint32_t> trained;
  uint64_t trained_bytes = 0, frozen_bytes = 0;
  std::vector<uint32_t> order;  ///< outputs as they become final
  uint64_t output_floats(uint32_t i) const { return i == 0 ? 1 : weights[trained[i - 1]].count; }
};

bool of_adapter(std::string_view weight) { return weight.ends_with(".lora_a") || weight.ends_with(".lora_b"); }

/// What stays as it is keeps its format; ops of experts read floats.
Format frozen_format(const Checkpoint& file, std::string_view name) {
  const TensorInfo* tensor = file.find(name);
  const bool of_experts = name.find("_exps.") != name.npos || name.find("ffn_gate_inp.") != name.npos;
  return tensor == nullptr || of_experts ? Format::f32 : tensor->format;
}

Result<Joint> joint_of(const Checkpoint& file, const ModelConfig& config, const TrainStepOptions& options) {
  const LoraOptions& lora = options.lora;
  const bool whole = lora.rank == 0;
  const auto format_of = [&](std::string_view name) { return whole ? Format::f32 : frozen_format(file, name); };
  const TrainedAdapter adapter = whole ? TrainedAdapter() : TrainedAdapter{lora.rank, lora.scale(), lora.targets};
  VIBEE_ASSIGN(const Graph loss, DecoderBuilder(config, format_of).build_training(adapter));
  std::vector<std::string> names = trainable_weights(loss);
  if (!whole) std::erase_if(names, [](const std::string& name) { return !of_adapter(name); });
  Joint j;
  VIBEE_ASSIGN(const Graph joint, differentiate(loss, names));
  j.graph = recompute(joint, options.recompute);
  for (const Node& node : j.graph.nodes) {
    if (node.op != Op::weight) continue;
    const Type& type = j.graph.type(node.out[0]);
    const std::string name(node.text("name"));
    const bool trained = std::find(names.begin(), names.end(), name) != names.end();
    const auto count = uint64_t(elements(type, {}));
    const bool matrix = type.dims.size() > 1;
    const Format format = matrix ? type.elem.format : Format::f32;
    uint64_t& bytes = trained ? j.trained_bytes : j.frozen_bytes;
    j.weights.push_back(
        {name, format, matrix, trained, bytes, matrix ? count / uint64_t(type.dims.back().n) : count, count});
    bytes += round_up(info(format).row_bytes(count), 64);
  }
  for (const std::string& name : names)
    for (uint32_t i = 0; i < j.weights.size(); ++i)
      if (j.weights[i].name == name) j.trained.push_back(i);
  j.order = ready_order(j.graph);
  return j;
}

uint64_t sum_floats(const Joint& joint) {
  uint64_t floats = 0;
  for (const uint32_t i : joint.order) floats += round_up(joint.output_floats(i), 16);
  return floats;
}

Result<TrainStep::Memory> memory_of(const Joint& joint, const TrainStepOptions& options) {
  VIBEE_ASSIGN(const uint64_t arena,
               TrainPlan::arena_bytes(joint.graph, {options.max_rows, options.threads, options.isa}));
  uint64_t sums = 0;
  if (options.sums()) {
    const uint32_t rank = options.ranks != nullptr ? options.ranks->rank() : 0;
    const uint32_t ranks = options.ranks != nullptr ? options.ranks->size() : 1;
    if (options.shares < ranks)
      return error(Code::invalid, "a step of {} shares for {} ranks; each takes one at least", options.shares, ranks);
    sums = share_sums(options.shares, deal_shares(options.shares, ranks)[rank]).buffers * 4 * sum_floats(joint);
  }
  return TrainStep::Memory{joint.trained_bytes, joint.frozen_bytes, 2 * joint.trained_bytes, sums, arena};
}

/// A tensor, or rows of it, in the weight's format.
Status read_weight(const Checkpoint& file, const TrainStep::Weight& weight, uint8_t* to) {
  const WeightPart part = weight_part(weight.name);
  VIBEE_ASSIGN(const TensorInfo* tensor, file.tensor(part.tensor));
  const NumericFormat& format = info(tensor->format);
  const uint64_t row = weight.count / weight.rows;
  if (row % format.block_elems != 0)
    return error(Code::unsupported, "{}: tensor '{}' is in {}, whose blocks do not fit its rows of {}", file.path(),
                 tensor->name, format.name, row);
  if (weight.trained && weight.matrix && format.block_elems > 1)
    return error(Code::unsupported,
                 "{}: tensor '{}' is in {}, which is not trained itself: train an adapter of the model (lora.rank), or "
                 "first make floats of it with `vibee convert --format f32`",
                 file.path(), tensor->name, format.name);
  const uint64_t bytes = format.row_bytes(row), first = uint64_t(part.first) * bytes;
  if (format.format == weight.format) return file.read(*tensor, first, {to, bytes * weight.rows});
  std::vector<uint8_t> raw(bytes);
  for (uint64_t r = 0; r < weight.rows; ++r) {
    VIBEE_TRY(file.read(*tensor, first + r * bytes, raw));
    format.decode(raw.data(), row, reinterpret_cast<float*>(to) + r * row);
  }
  return {};
}

/// Small numbers for A, nothing for B: what an adapter adds begins at zero.
void begin_adapter(const LoraOptions& lora, uint32_t index, const TrainStep::Weight& weight, float* to) {
  const bool a = weight.name.ends_with(".lora_a");
  const float most = 1 / std::sqrt(float(weight.count / weight.rows));
  for (uint64_t i = 0; i < weight.count; ++i)
    to[i] = a ? most * (2 * unit_float(philox(lora.seed, Purpose::weights, index, i)[0]) - 1) : 0.0f;
}

/// The elements of n that a thread works on: whole vectors of 16.
std::pair<uint64_t, uint64_t> slice_of(uint64_t n, uint32_t tid, uint32_t threads) {
  const Range blocks = share(uint32_t((n + 15) / 16), tid, threads);
  return {std::min<uint64_t>(n, 16ull * blocks.begin), std::min<uint64_t>(n, 16ull * blocks.end)};
}

}  // namespace

Result<TrainStep::Memory> TrainStep::memory(const Checkpoint& file, const ModelConfig& config,
                                            const TrainStepOptions& options) {
  VIBEE_ASSIGN(const Joint joint, joint_of(file, config, options));
  return memory_of(joint, options);
}

Result<Graph> TrainStep::graph(const Checkpoint& file, const ModelConfig& config, const TrainStepOptions& options) {
  VIBEE_ASSIGN(Joint joint, joint_of(file, config, options));
  return std::move(joint.graph);
}

Result<std::unique_ptr<TrainStep>> TrainStep::create(const Checkpoint& file, const ModelConfig& config,
                                                     const TrainStepOptions& options) {
  VIBEE_ASSIGN(Joint joint, joint_of(file, config, options));
  VIBEE_ASSIGN(const Memory memory, memory_of(joint, options));
  if (memory.sum() > available_memory())
    return error(Code::no_memory,
                 "{}: training takes {} MiB (weights {}, frozen {}, moments {}, gradients {}, a step of {} rows {}), "
                 "{} MiB are available; take fewer rows a step or a smaller model",
                 file.path(), memory.sum() >> 20, memory.weights >> 20, memory.frozen >> 20, memory.moments >> 20,
                 memory.gradients >> 20, options.max_rows, memory.arena >> 20, available_memory() >> 20);
  auto s = std::make_unique<TrainStep>();
  s->options_ = options;
  s->weights_ = std::move(joint.weights);
  s->trained_ = std::move(joint.trained);
  VIBEE_ASSIGN(s->values_, HugeBuffer::allocate(memory.weights));
  VIBEE_ASSIGN(s->frozen_, HugeBuffer::allocate(std::max<uint64_t>(64, memory.frozen)));
  VIBEE_ASSIGN(s->first_, HugeBuffer::allocate(memory.moments / 2));
  VIBEE_ASSIGN(s->second_, HugeBuffer::allocate(memory.moments / 2));
  if (options.sums()) VIBEE_TRY(s->prepare_sums(memory.gradients, joint.order));
  std::memset(s->values_.data(), 0, memory.weights);
  std::memset(s->first_.data(), 0, memory.moments / 2);
  std::memset(s->second_.data(), 0, memory.moments / 2);
  for (uint32_t i = 0; i < s->weights_.size(); ++i) {
    const Weight& weight = s->weights_[i];
    if (of_adapter(weight.name)) {
      begin_adapter(options.lora, i, weight, s->values_.as<float>(weight.at));
    } else {
      VIBEE_TRY(read_weight(file, weight, s->place(weight)));
    }
  }
  const auto place = [self = s.get()](std::string_view name) -> uint8_t* {
    for (const Weight& w : self->weights_)
      if (w.name == name) return self->place(w);
    return nullptr;
  };
  VIBEE_ASSIGN(s->plan_,
               TrainPlan::compile(std::move(joint.graph), place, {options.max_rows, options.threads, options.isa}));
  s->team_ = std::make_unique<Team>(options.threads);
  s->positions_.reserve(options.max_rows);
  return s;
}

template <class F>
Status TrainStep::with_inputs(const TrainBatch& batch, F&& run) {
  if (batch.tokens.size() > options_.max_rows || batch.documents.size() != batch.tokens.size())
    return error(Code::invalid, "a step of {} rows and {} documents' rows; a step has {} rows at most",
                 batch.tokens.size(), batch.documents.size(), options_.max_rows);
  positions_.clear();
  for (size_t r = 0; r < batch.documents.size(); ++r) positions_.push_back(int32_t(r) - batch.documents[r]);
  const std::pair<std::string_view, std::span<const int32_t>> integers[] = {
      {"tokens", batch.tokens}, {"positions", positions_}, {"documents", batch.documents}, {"targets", batch.targets}};
  const std::pair<std::string_view, std::span<const float>> floats[] = {{"loss_weights", batch.weights}};
  return run(TrainInputs{integers, floats});
}

Result<float> TrainStep::evaluate(const TrainBatch& batch) {
  VIBEE_CHECK(parts_ == 0 && share_ == 0, "inside a step");
  VIBEE_TRY(with_inputs(batch, [&](const TrainInputs& inputs) { return plan_->run_loss(*team_, inputs); }));
  return plan_->output(0)[0];
}

Result<std::optional<std::string>> TrainStep::first_not_finite(const TrainBatch& part) {
  std::optional<std::string> found;
  VIBEE_TRY(with_inputs(part, [&](const TrainInputs& inputs) -> Status {
    VIBEE_ASSIGN(found, plan_->first_not_finite(*team_, inputs));
    return {};
  }));
  return found;
}

std::span<const float> TrainStep::gradient(size_t i) const {
  const Weight& w = weights_[trained_[i]];
  return options_.sums() ? std::span(sums_.as<const float>(4 * sum_at_[i + 1]), w.count) : plan_->output(i + 1);
}

/// Places of the sums, and the buckets as runs of them.
Status TrainStep::prepare_sums(uint64_t bytes, std::span<const uint32_t> order) {
  CommThread* const ranks = options_.ranks;
  program_ = direct_all_reduce(options_.shares, ranks != nullptr ? ranks->size() : 1);
  VIBEE_TRY(verify(program_));
  range_ = program_.ranges[ranks != nullptr ? ranks->rank() : 0];
  order_ = share_sums(options_.shares, range_);
  VIBEE_ASSIGN(sums_, HugeBuffer::allocate(bytes));
  std::fill_n(sums_.as<float>(0), bytes / 4, 0.0f);
  sum_at_.resize(order.size());
  std::vector<uint64_t> sizes;
  for (const uint32_t i : order) {
    sum_at_[i] = sum_floats_;
    sizes.push_back(4 * round_up(i == 0 ? 1 : weights_[trained_[i - 1]].count, 16));
    sum_floats_ += sizes.back() / 4;
  }
  if (ranks == nullptr) return {};
  uint64_t first = 0;
  const size_t held = whole_nodes(options_.shares, range_).size();
  for (const size_t end : bucket_ends(sizes, options_.buckets)) {
    const uint64_t next = end < order.size() ? sum_at_[order[end]] : sum_floats_;
    std::vector<float*> sums;
    for (uint32_t k = 0; k < held; ++k) sums.push_back(sum(k) + first);
    buckets_.emplace_back(program_, ranks->rank(), next - first, std::move(sums));
    last_output_.push_back(order[end - 1]);
    first = next;
  }
  return {};
}

/// An output of the part that runs goes into the share's sum, and that into the sums of the tree that it completes.
void TrainStep::collect(size_t output, uint32_t tid, bool ends_share) {
  const ShareSums::Share& share = order_.shares[share_];
  const std::span<const float> g = plan_->output(output);
  const auto [begin, end] = slice_of(g.size(), tid, options_.threads);
  const auto at = [&](uint32_t buffer) { return sum(buffer) + sum_at_[output]; };
  float* const to = at(share.buffer);
  for (uint64_t e = begin; e < end; ++e) to[e] = parts_ == 0 ? g[e] : to[e] + g[e];
  if (!ends_share) return;
  for (const auto& [left, right] : share.adds) {
    float* const l = at(left);
    const float* const r = at(right);
    for (uint64_t e = begin; e < end; ++e) l[e] += r[e];
  }
  if (options_.ranks == nullptr || !options_.overlap || share_ + 1 < order_.shares.size()) return;
  if (output != last_output_[next_bucket_]) return;
  team_->barrier();
  if (tid == 0) options_.ranks->submit(&buckets_[next_bucket_++]);
  team_->barrier();  // all have read next_bucket_ when it moves, and read it moved
}

Status TrainStep::add(const TrainBatch& part, bool ends_share) {
  VIBEE_CHECK(options_.accumulate || parts_ == 0, "a share of several parts");
  VIBEE_CHECK(!options_.sums() || share_ < order_.shares.size(), "more than {} shares", order_.shares.size());
  const double begin = monotonic_seconds();
  if (options_.ranks != nullptr && share_ == 0 && parts_ == 0) options_.ranks->take_spans();  // of other things
  TrainPlan::OnOutput on_output;
  if (options_.sums()) on_output = [&](size_t i, uint32_t tid) { collect(i, tid, ends_share); };
  Status ran = with_inputs(part, [&](const TrainInputs& inputs) { return plan_->run(*team_, inputs, on_output); });
  if (!ran.ok()) {
    parts_ = share_ = 0;
    return ran;
  }
  if (options_.ranks != nullptr) computed_.push_back({begin, monotonic_seconds()});
  ++parts_;
  if (!ends_share) return {};
  parts_ = 0;
  ++share_;
  return {};
}

/// Waits until the sums are those of all ranks.
Status TrainStep::gather() {
  if (!options_.sums()) {
    loss_ = plan_->output(0)[0];
    return {};
  }
  if (options_.ranks != nullptr) {
    trace_.compute = std::exchange(computed_, {});
    for (; next_bucket_ < buckets_.size(); ++next_bucket_) options_.ranks->submit(&buckets_[next_bucket_]);
    next_bucket_ = 0;
    VIBEE_TRY(options_.ranks->wait());
    trace_.communicate = options_.ranks->take_spans();
  }
  loss_ = sum(0)[sum_at_[0]];
  return {};
}

Result<TrainUpdate> TrainStep::update() {
  VIBEE_CHECK(parts_ == 0 && share_ == std::max<size_t>(1, order_.shares.size()), "a step of {} whole shares", share_);
  share_ = 0;
  VIBEE_TRY(gather());
  trace_.update.begin = monotonic_seconds();
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
      const uint64_t at = w.at + 4 * begin;
      AdamWStep step = adamw_step(options_.optimiser, steps_ + 1, w.matrix);
      step.scale = scale;
      kernel(step, gradient(i).data() + begin, end - begin, values_.as<float>(at), first_.as<float>(at),
             second_.as<float>(at));
    }
  });
  ++steps_;
  trace_.update.end = monotonic_seconds();
  return TrainUpdate{loss_, norm};
}

Result<float> TrainStep::run(const TrainBatch& batch) {
  VIBEE_TRY(add(batch));
  VIBEE_ASSIGN(const TrainUpdate done, update());
  return done.loss;
}

std::array<std::span<uint8_t>, 3> TrainStep::state() {
  const Weight& last = weights_[*std::max_element(trained_.begin(), trained_.end())];
  const size_t bytes = round_up(last.at + 4 * last.count, 64);
  return {std::span(values_.as<uint8_t>(0), bytes), {first_.as<uint8_t>(0), bytes}, {second_.as<uint8_t>(0), bytes}};
}

std::span<const float> TrainStep::values(const Weight& weight) const {
  VIBEE_CHECK(weight.format == Format::f32, "{}", weight.name);
  return {reinterpret_cast<const float*>((weight.trained ? values_ : frozen_).data() + weight.at), weight.count};
}

}  // namespace vibee
