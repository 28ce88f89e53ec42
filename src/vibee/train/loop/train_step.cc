// SPDX-License-Identifier: Apache-2.0
#include "vibee/train/loop/train_step.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "vibee/base/memory/checked.h"
#include "vibee/base/random/philox.h"
#include "vibee/core/measure/measure.h"
#include "vibee/dist/shard/data_parallel.h"
#include "vibee/graph/autodiff/differentiate.h"
#include "vibee/graph/pass/quantize_aware.h"
#include "vibee/graph/pass/store_activations.h"
#include "vibee/train/precision/bnb_optimization.h"
#include "vibee/train/precision/mixed_precision_master.h"

namespace vibee {
namespace {

/// The joint graph of a model and where its weights lie.
struct Joint {
  Graph graph;
  std::vector<TrainStep::Weight> weights;
  std::vector<uint32_t> trained;
  uint64_t trained_bytes = 0, rest_bytes = 0, frozen_bytes = 0;
  uint64_t moment_bytes = 0;    ///< of one moment
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
  VIBEE_ASSIGN(Graph joint, differentiate(loss, names));
  if (const ProductRecipe* const recipe = options.precision.products; recipe != nullptr && whole)
    round_products(&joint, *recipe, options.precision.products_skip);
  if (!options.precision.stored.empty() && whole)
    quantize_aware(&joint, options.precision.stored, options.precision.products_skip);
  const Graph stored = store_activations(joint, options.precision.activations);
  const Graph kept = options.recompute_layers.empty() ? recompute(stored, options.recompute)
                                                      : recompute(stored, options.recompute_layers);
  j.graph = compress_activations(kept, options.saved);
  const Precision precision = whole ? options.precision : Precision();
  if (precision.weights != Format::f32) store_weights(&j.graph, names, precision.weights);
  for (const Node& node : j.graph.nodes) {
    if (node.op != Op::weight) continue;
    const Type& type = j.graph.type(node.out[0]);
    const std::string name(node.text("name"));
    const bool trained = std::find(names.begin(), names.end(), name) != names.end();
    const auto count = uint64_t(elements(type, {}));
    const bool matrix = type.dims.size() > 1;
    const Format format = matrix ? type.elem.format : Format::f32;
    uint64_t& bytes = trained ? j.trained_bytes : j.frozen_bytes;
    const WeightForm form = trained ? weight_form(precision, format) : WeightForm::f32;
    const bool narrow = trained && narrow_moments(options.precision, name, count);
    j.weights.push_back({name, format, matrix, trained, bytes, matrix ? count / uint64_t(type.dims.back().n) : count,
                         count, form, j.rest_bytes, j.moment_bytes, narrow});
    bytes += round_up(j.weights.back().rows * info(format).row_bytes(count / j.weights.back().rows), 64);
    if (!trained) continue;
    j.rest_bytes += round_up(info(form).rest_bytes * count, 64);
    j.moment_bytes += moment_bytes(options.precision, options.optimiser.rule, narrow, count);
  }
  for (const std::string& name : names)
    for (uint32_t i = 0; i < j.weights.size(); ++i)
      if (j.weights[i].name == name) j.trained.push_back(i);
  j.order = ready_order(j.graph);
  return j;
}

/// The form of sums of an output: the loss and vectors stay in f32.
WeightForm sum_form(const TrainStepOptions& options, const std::vector<TrainStep::Weight>& weights,
                    const std::vector<uint32_t>& trained, uint32_t output) {
  const bool narrow = options.precision.gradients == Format::bf16 && options.lora.rank == 0;
  if (!narrow || output == 0 || !weights[trained[output - 1]].matrix) return WeightForm::f32;
  return bf16_form(options.precision.gradient_sums);
}
/// Bytes of a sum of n elements: what is read, and the rest behind it.
uint64_t sum_bytes(WeightForm form, uint64_t n) {
  return round_up((info(form).copy_bytes() + info(form).rest_bytes) * round_up(n, 16), 64);
}

MomentStore::Layout moment_layout(const std::vector<TrainStep::Weight>& weights, const std::vector<uint32_t>& trained,
                                  uint64_t bytes, const TrainStepOptions& options) {
  MomentStore::Layout layout{info(options.optimiser.rule).moments(options.optimiser), bytes, {}};
  for (const uint32_t i : trained) {
    const TrainStep::Weight& w = weights[i];
    layout.weights.push_back(
        {w.name, w.moment_at, moment_bytes(options.precision, options.optimiser.rule, w.narrow_moments, w.count)});
  }
  return layout;
}

Result<TrainStep::Memory> memory_of(const Joint& joint, const TrainStepOptions& options) {
  VIBEE_ASSIGN(const uint64_t arena, TrainPlan::arena_bytes(joint.graph, plan_options(options)));
  uint64_t sums = 0;
  if (options.sums()) {
    const uint32_t rank = options.ranks != nullptr ? options.ranks->rank() : 0;
    const uint32_t ranks = options.ranks != nullptr ? options.ranks->size() : 1;
    if (options.shares < ranks)
      return error(Code::invalid, "a step of {} shares for {} ranks; each takes one at least", options.shares, ranks);
    for (const uint32_t i : joint.order)
      sums += sum_bytes(sum_form(options, joint.weights, joint.trained, i), joint.output_floats(i));
    sums *= share_sums(options.shares, deal_shares(options.shares, ranks)[rank]).buffers;
  }
  VIBEE_ASSIGN(
      const MomentStore::Memory moments,
      MomentStore::memory(moment_layout(joint.weights, joint.trained, joint.moment_bytes, options), options.paged));
  return TrainStep::Memory{joint.trained_bytes, joint.rest_bytes, joint.frozen_bytes, moments.bytes, sums, arena,
                           moments.file};
}

/// A tensor, or rows of it: a frozen weight's bytes to `to`, or floats row by row to put(first element, floats).
template <class F>
Status read_weight(const Checkpoint& file, const TrainStep::Weight& weight, uint8_t* to, F&& put) {
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
  const bool same = format.format == weight.format && info(weight.form).in_place();
  if (same) return file.read(*tensor, first, {to, bytes * weight.rows});
  std::vector<uint8_t> raw(bytes);
  std::vector<float> floats(row);
  for (uint64_t r = 0; r < weight.rows; ++r) {
    VIBEE_TRY(file.read(*tensor, first + r * bytes, raw));
    format.decode(raw.data(), row, floats.data());
    put(r * row, floats);
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

/// The elements of n that a thread works on: whole units, of which random numbers are drawn, and whole blocks.
std::pair<uint64_t, uint64_t> slice_of(uint64_t n, uint32_t tid, uint32_t threads, uint64_t unit = kUpdateUnit) {
  const Range units = share(uint32_t((n + unit - 1) / unit), tid, threads);
  return {std::min<uint64_t>(n, unit * units.begin), std::min<uint64_t>(n, unit * units.end)};
}
static_assert(kUpdateBlock % kMostMomentBlock == 0, "blocks of a step are whole blocks of moments");

/// What the options say of sums that are kept, or not.
Status check_sums(const TrainStepOptions& options) {
  if (options.precision.gradients == Format::f32) return {};
  if (options.ranks != nullptr)
    return error(Code::unsupported,
                 "key 'precision.gradients': sums over ranks are f32; bf16 is built for one process");
  if (!options.sums())
    return error(Code::invalid,
                 "key 'precision.gradients': nothing is summed in a step of one part (train.part) and one share "
                 "(parallel.shares)");
  return {};
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
  VIBEE_TRY(check(options.precision));
  VIBEE_TRY(check_sums(options));
  VIBEE_ASSIGN(Joint joint, joint_of(file, config, options));
  VIBEE_ASSIGN(const Memory memory, memory_of(joint, options));
  if (memory.sum() > available_memory())
    return error(Code::no_memory,
                 "{}: training takes {} MiB (weights {}, frozen {}, moments {}, gradients {}, a step of {} rows {}), "
                 "{} MiB are available; take fewer rows a step or a smaller model",
                 file.path(), memory.sum() >> 20, (memory.weights + memory.rests) >> 20, memory.frozen >> 20,
                 memory.moments >> 20, memory.gradients >> 20, options.max_rows, memory.arena >> 20,
                 available_memory() >> 20);
  auto s = std::make_unique<TrainStep>();
  s->options_ = options;
  s->weights_ = std::move(joint.weights);
  s->trained_ = std::move(joint.trained);
  VIBEE_ASSIGN(s->values_, HugeBuffer::allocate(memory.weights));
  VIBEE_ASSIGN(s->rests_, HugeBuffer::allocate(std::max<uint64_t>(64, memory.rests)));
  VIBEE_ASSIGN(s->frozen_, HugeBuffer::allocate(std::max<uint64_t>(64, memory.frozen)));
  s->memory_ = memory;
  s->scaler_ = LossScaler(options.precision.loss_scale);
  s->scales_ = Fp8Scales(options.precision.fp8, scaled_operands(joint.graph));
  VIBEE_ASSIGN(s->moments_, MomentStore::create(moment_layout(s->weights_, s->trained_, joint.moment_bytes, options),
                                                options.paged));
  for (uint32_t m = 0; m < kMostMoments; ++m) {
    constexpr std::string_view kNames[kMostMoments] = {"first moments", "second moments"};
    const Precision& p = options.precision;
    s->moment_names_[m] = p.narrow_moments ? fmt::format("{} in 8 bits, blocks of {}", kNames[m], p.moment_block)
                                           : std::string(kNames[m]);
  }
  if (const ProductRecipe* const recipe = options.precision.products; recipe != nullptr)
    s->scale_name_ = fmt::format("scales of {}, {} steps", recipe->name, options.precision.fp8.history);
  if (options.sums()) VIBEE_TRY(s->prepare_sums(memory.gradients, joint.order));
  std::memset(s->values_.data(), 0, memory.weights);
  std::memset(s->rests_.data(), 0, memory.rests);
  for (uint32_t i = 0; i < s->weights_.size(); ++i) {
    const Weight& weight = s->weights_[i];
    if (of_adapter(weight.name)) {
      begin_adapter(options.lora, i, weight, s->values_.as<float>(weight.at));
    } else {
      const WeightFormInfo& form = info(first_form(weight.form));
      VIBEE_TRY(read_weight(file, weight, s->place(weight), [&](uint64_t first, const std::vector<float>& row) {
        form.kernels[size_t(options.isa)].store(row.data(), row.size(), {},
                                                s->place(weight) + first * form.copy_bytes(),
                                                s->rests_.data() + weight.rest_at + first * form.rest_bytes);
      }));
    }
  }
  const auto place = [self = s.get()](std::string_view name) { return self->place(name); };
  VIBEE_ASSIGN(s->plan_, TrainPlan::compile(std::move(joint.graph), place, plan_options(options)));
  s->team_ = std::make_unique<Team>(options.threads);
  s->positions_.reserve(options.max_rows);
  s->scaled_.reserve(options.max_rows);
  return s;
}

template <class F>
Status TrainStep::with_inputs(const TrainBatch& batch, double scale, F&& run) {
  if (batch.tokens.size() > options_.max_rows || batch.documents.size() != batch.tokens.size())
    return error(Code::invalid, "a step of {} rows and {} documents' rows; a step has {} rows at most",
                 batch.tokens.size(), batch.documents.size(), options_.max_rows);
  positions_.clear();
  for (size_t r = 0; r < batch.documents.size(); ++r) positions_.push_back(int32_t(r) - batch.documents[r]);
  scaled_.clear();
  for (const float weight : batch.weights) scaled_.push_back(weight * float(scale));
  const std::pair<std::string_view, std::span<const int32_t>> integers[] = {
      {"tokens", batch.tokens}, {"positions", positions_}, {"documents", batch.documents}, {"targets", batch.targets}};
  const std::pair<std::string_view, std::span<const float>> floats[] = {
      {"loss_weights", scale == 1 ? batch.weights : scaled_}};
  // Every part of a step rounds with numbers of its own, whoever computes it.
  const uint64_t part = uint64_t(range_.first + share_) << 10 | parts_;
  return run(TrainInputs{integers,
                         floats,
                         {options_.precision.seed, Purpose::compressing, (steps_ + 1) << 20 | part},
                         {scales_.scales(), scales_.largest()},
                         weights_version_});
}

Result<float> TrainStep::evaluate(const TrainBatch& batch) {
  VIBEE_CHECK(parts_ == 0 && share_ == 0, "inside a step");
  VIBEE_TRY(with_inputs(batch, 1, [&](const TrainInputs& inputs) { return plan_->run_loss(*team_, inputs); }));
  return plan_->output(0)[0];
}

Result<std::optional<std::string>> TrainStep::first_not_finite(const TrainBatch& part) {
  std::optional<std::string> found;
  VIBEE_TRY(with_inputs(part, scaler_.scale(), [&](const TrainInputs& inputs) -> Status {
    VIBEE_ASSIGN(found, plan_->first_not_finite(*team_, inputs));
    return {};
  }));
  return found;
}

Result<std::vector<float>> TrainStep::gradients_of(Graph graph, const TrainBatch& part, uint64_t seed) {
  const auto place = [&](std::string_view name) { return this->place(name); };
  VIBEE_ASSIGN(const auto plan, TrainPlan::compile(std::move(graph), place, plan_options(options_)));
  VIBEE_TRY(with_inputs(part, 1, [&](TrainInputs inputs) {
    inputs.rounding.seed = seed;
    return plan->run(*team_, inputs);
  }));
  std::vector<float> all;
  for (size_t i = 0; i < trained_.size(); ++i) {
    const std::span<const float> g = plan->output(i + 1);
    all.insert(all.end(), g.begin(), g.end());
  }
  return all;
}

uint8_t* TrainStep::place(std::string_view name) {
  for (const Weight& w : weights_)
    if (w.name == name) return place(w);
  return nullptr;
}

FormElements TrainStep::sum(uint32_t buffer, size_t output) {
  const WeightForm form = sum_form(options_, weights_, trained_, uint32_t(output));
  const uint64_t count = output == 0 ? 1 : weights_[trained_[output - 1]].count;
  uint8_t* const at = sums_.data() + buffer * sum_bytes_ + sum_at_[output];
  return {form, at, at + info(form).copy_bytes() * round_up(count, 16)};
}

const float* TrainStep::gradient(size_t i, uint64_t first, uint64_t n, float* block) {
  if (!options_.sums()) return plan_->output(i + 1).data() + first;
  return sum(0, i + 1).from(first).load(options_.isa, n, block);
}

/// Places of the sums, and the buckets as runs of them.
Status TrainStep::prepare_sums(uint64_t bytes, std::span<const uint32_t> order) {
  CommThread* const ranks = options_.ranks;
  program_ = direct_all_reduce(options_.shares, ranks != nullptr ? ranks->size() : 1);
  VIBEE_TRY(verify(program_));
  range_ = program_.ranges[ranks != nullptr ? ranks->rank() : 0];
  order_ = share_sums(options_.shares, range_);
  VIBEE_ASSIGN(sums_, HugeBuffer::allocate(bytes));
  std::memset(sums_.data(), 0, bytes);
  sum_at_.resize(order.size());
  std::vector<uint64_t> sizes;
  for (const uint32_t i : order) {
    sum_at_[i] = sum_bytes_;
    sizes.push_back(sum_bytes(sum_form(options_, weights_, trained_, i), i == 0 ? 1 : weights_[trained_[i - 1]].count));
    sum_bytes_ += sizes.back();
  }
  if (ranks == nullptr) return {};
  uint64_t first = 0;
  const size_t held = whole_nodes(options_.shares, range_).size();
  for (const size_t end : bucket_ends(sizes, options_.buckets)) {
    const uint64_t next = end < order.size() ? sum_at_[order[end]] : sum_bytes_;
    std::vector<float*> sums;
    for (uint32_t k = 0; k < held; ++k) sums.push_back(sums_.as<float>(k * sum_bytes_ + first));
    buckets_.emplace_back(program_, ranks->rank(), (next - first) / 4, std::move(sums));
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
  // Sums in bf16 may be rounded at random: every addition with numbers of its own.
  RoundingKey key{options_.precision.seed, Purpose::summing, (steps_ + 1) << 16 | additions_, uint32_t(output), 0};
  const auto add = [&, begin = begin, end = end](uint32_t buffer, bool first, auto&& floats) {
    float block[kUpdateBlock];
    for (key.element = begin; key.element < end; key.element += kUpdateBlock) {
      const uint64_t n = std::min(kUpdateBlock, end - key.element);
      add_to(sum(buffer, output).from(key.element), options_.isa, floats(key.element, n, block), n, first, key);
    }
    ++key.step;
  };
  add(share.buffer, parts_ == 0, [&](uint64_t first, uint64_t, float*) { return g.data() + first; });
  if (!ends_share) return;
  for (const auto& [left, right] : share.adds)
    add(left, false, [&, right = right](uint64_t first, uint64_t n, float* block) {
      return sum(right, output).from(first).load(options_.isa, n, block);
    });
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
  if (share_ == 0 && parts_ == 0) {
    if (options_.ranks != nullptr) options_.ranks->take_spans();  // of other things
    scales_.begin();
  }
  TrainPlan::OnOutput on_output;
  if (options_.sums()) on_output = [&](size_t i, uint32_t tid) { collect(i, tid, ends_share); };
  Status ran = with_inputs(part, scaler_.scale(),
                           [&](const TrainInputs& inputs) { return plan_->run(*team_, inputs, on_output); });
  if (!ran.ok()) {
    parts_ = share_ = additions_ = 0;
    return ran;
  }
  if (options_.ranks != nullptr) computed_.push_back({begin, monotonic_seconds()});
  ++parts_;
  additions_ += options_.sums() && ends_share ? 1 + uint32_t(order_.shares[share_].adds.size()) : 1;
  if (!ends_share) return {};
  parts_ = 0;
  ++share_;
  return {};
}

/// Waits until the sums are those of all ranks.
Status TrainStep::gather() {
  if (!options_.sums()) {
    loss_ = float(plan_->output(0)[0] / scaler_.scale());
    return {};
  }
  if (options_.ranks != nullptr) {
    trace_.compute = std::exchange(computed_, {});
    for (; next_bucket_ < buckets_.size(); ++next_bucket_) options_.ranks->submit(&buckets_[next_bucket_]);
    next_bucket_ = 0;
    VIBEE_TRY(options_.ranks->wait());
    trace_.communicate = options_.ranks->take_spans();
  }
  loss_ = float(*reinterpret_cast<const float*>(sum(0, 0).copy) / scaler_.scale());
  return {};
}

/// The norm of all gradients. Squares are summed in blocks of one size, so it does not depend on the threads; those of
/// floats do not overflow doubles: it is finite where the gradients are.
double TrainStep::norm() {
  constexpr uint64_t kBlock = 1 << 14;
  std::vector<uint64_t> first_block = {0};
  for (const uint32_t i : trained_)
    first_block.push_back(first_block.back() + (weights_[i].count + kBlock - 1) / kBlock);
  std::vector<double> squares(first_block.back());
  team_->run([&](uint32_t tid) {
    const Range mine = share(uint32_t(squares.size()), tid, options_.threads);
    float block[kUpdateBlock];
    size_t i = 0;
    for (uint64_t b = mine.begin; b < mine.end; ++b) {
      while (first_block[i + 1] <= b) ++i;
      const uint64_t begin = (b - first_block[i]) * kBlock;
      const uint64_t end = std::min<uint64_t>(begin + kBlock, weights_[trained_[i]].count);
      double sum = 0;
      for (uint64_t at = begin; at < end; at += kUpdateBlock) {
        const uint64_t n = std::min(kUpdateBlock, end - at);
        const float* g = gradient(i, at, n, block);
        for (uint64_t e = 0; e < n; ++e) sum += double(g[e]) * g[e];
      }
      squares[b] = sum;
    }
  });
  double norm = 0;
  for (const double square : squares) norm += square;
  return std::sqrt(norm);
}

std::string TrainStep::bad_gradient() {
  float block[kUpdateBlock];
  for (size_t i = 0; i < trained_.size(); ++i)
    for (uint64_t at = 0, n; at < weights_[trained_[i]].count; at += n) {
      n = std::min(kUpdateBlock, weights_[trained_[i]].count - at);
      const float* g = gradient(i, at, n, block);
      if (!std::all_of(g, g + n, [](float x) { return std::isfinite(x); })) return weights_[trained_[i]].name;
    }
  return "the loss";
}

MomentElements TrainStep::moment(const Weight& w, uint32_t m, uint8_t* at) const {
  return MomentElements::at(at, moment_form(options_.optimiser.rule, m, w.narrow_moments),
                            options_.precision.moment_block, w.count);
}

/// Moves a thread's elements of a weight by the rule, block by block: from their forms, the rule, into their forms.
void TrainStep::move_weight(size_t i, uint32_t tid, float scale, uint8_t* const* at) {
  const UpdateRule& rule = info(options_.optimiser.rule);
  const UpdateKernel kernel = rule.kernel(options_.isa);
  const uint32_t count = rule.moments(options_.optimiser);
  const Weight& w = weights_[trained_[i]];
  const uint64_t unit =
      w.narrow_moments ? std::max<uint64_t>(kUpdateUnit, options_.precision.moment_block) : kUpdateUnit;
  const auto [begin, end] = slice_of(w.count, tid, options_.threads, unit);
  float of_gradient[kUpdateBlock], of_weight[kUpdateBlock], of_moment[kMostMoments][kUpdateBlock];
  UpdateStep step = rule.step(options_.optimiser, steps_ + 1, w.matrix);
  step.scale = scale;
  RoundingKey key{options_.precision.seed, Purpose::rounding, steps_ + 1, trained_[i], begin};
  for (; key.element < end; key.element += kUpdateBlock) {
    const uint64_t n = std::min(kUpdateBlock, end - key.element);
    MomentElements of[kMostMoments];
    float* moments[kMostMoments] = {};
    for (uint32_t m = 0; m < count; ++m) {
      of[m] = moment(w, m, at[m]).from(key.element);
      moments[m] = of[m].load(options_.isa, n, of_moment[m]);
    }
    const FormElements elements = this->elements(w).from(key.element);
    float* const x = elements.load(options_.isa, n, of_weight);
    kernel(step, gradient(i, key.element, n, of_gradient), n, x, moments);
    elements.store(options_.isa, x, n, key);
    for (uint32_t m = 0; m < count; ++m) of[m].store(options_.isa, moments[m], n);
  }
}

/// Moves all weights; where their moments are paged, one behind the other.
Status TrainStep::move(float scale) {
  if (!moments_->paged()) {
    team_->run([&](uint32_t tid) {
      for (size_t i = 0; i < trained_.size(); ++i) move_weight(i, tid, scale, moments_->at(i).moments);
    });
    return {};
  }
  moments_->begin();
  for (size_t i = 0; i < trained_.size(); ++i) {
    VIBEE_ASSIGN(const MomentStore::Place place, moments_->take(i));
    team_->run([&](uint32_t tid) { move_weight(i, tid, scale, place.moments); });
    moments_->give(i);
  }
  return moments_->end();
}

Status TrainStep::why(const TrainUpdate& u) {
  if (u.outcome == Outcome::spike)
    return error(Code::invalid, "step {}: the norm of the gradients ({:.4g}) is {:.1f} times its mean of late ({:.4g})",
                 steps_ + 1, u.norm, u.norm / norms_.mean, norms_.mean);
  return error(Code::invalid, "step {}: the loss ({}) or a gradient is not finite; the first is of {}", steps_ + 1,
               u.loss, bad_gradient());
}

/// What becomes of the step. With a loss scale one that is not finite may do at the next scale.
Result<Outcome> TrainStep::judge(double norm) {
  constexpr uint64_t kFew = 20;  // norms that make no mean yet
  if (std::isfinite(loss_) && std::isfinite(norm)) {
    if (options_.spike > 0 && norms_.steps >= kFew && norm >= options_.spike * norms_.mean) return Outcome::spike;
    scaler_.step(true);
    return Outcome::moved;
  }
  if (options_.precision.loss_scale.kind == LossScaling::Kind::none) return Outcome::not_finite;
  scaler_.step(false);
  if (!scaler_.exhausted()) return Outcome::overflow;
  return error(Code::invalid, "step {}: gradients overflow at loss scale {}: first non-finite tensor {}", steps_ + 1,
               scaler_.scale(), bad_gradient());
}

Status TrainStep::move_scales() {
  if (!scales_.delayed()) return {};
  if (options_.ranks != nullptr) VIBEE_TRY(max_over_ranks(*options_.ranks, scales_.largest()));
  scales_.step();
  return {};
}

Result<TrainUpdate> TrainStep::update() {
  VIBEE_CHECK(parts_ == 0 && share_ == std::max<size_t>(1, order_.shares.size()), "a step of {} whole shares", share_);
  constexpr double kLate = 50;
  share_ = additions_ = 0;
  VIBEE_TRY(gather());
  trace_.update.begin = monotonic_seconds();
  TrainUpdate update{loss_, 0, scaler_.scale()};
  update.norm = norm() / update.loss_scale;
  // The sums, and so the norm and the loss, have the same bytes on all ranks: all of them make this step or none does.
  VIBEE_ASSIGN(update.outcome, judge(update.norm));
  if (update.skipped()) return update;
  const double clip = options_.clip > 0 && update.norm > options_.clip ? options_.clip / update.norm : 1;
  VIBEE_TRY(move_scales());
  ++weights_version_;
  VIBEE_TRY(move(float(float(clip) / update.loss_scale)));
  ++steps_;
  ++norms_.steps;
  norms_.mean += (update.norm - norms_.mean) / std::min(kLate, double(norms_.steps));
  trace_.update.end = monotonic_seconds();
  return update;
}

Result<float> TrainStep::run(const TrainBatch& batch) {
  VIBEE_TRY(add(batch));
  VIBEE_ASSIGN(const TrainUpdate done, update());
  if (done.outcome == Outcome::not_finite || done.outcome == Outcome::spike) return why(done);
  return done.loss;
}

}  // namespace vibee
