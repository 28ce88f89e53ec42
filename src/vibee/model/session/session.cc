// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/session/session.h"

#include <algorithm>

#include "vibee/base/memory/checked.h"
#include "vibee/hw/device/h100_optimization.h"
#include "vibee/model/session/device_matrices.h"
#include "vibee/model/state/device_pages.h"

namespace vibee {
namespace {

/// Pages of the full context of every sequence; of texts that come whole and are let go after their step, those that
/// the rows of a step can touch.
uint64_t page_count(const ModelConfig& config, const SessionOptions& o) {
  if (o.pages) return o.pages;
  if (config.takes_whole()) return o.max_rows / kPageTokens + std::min(o.max_rows, o.sequences);
  return (uint64_t(o.context) + kPageTokens - 1) / kPageTokens * o.sequences;
}

Status check(const ModelConfig& config, const SessionOptions& o) {
  if (o.context == 0 || o.context > (1u << 26))
    return error(Code::invalid, "context {} is not in 1 to {}", o.context, 1u << 26);
  if (config.learned_positions && o.context > config.context)
    return error(Code::invalid, "context {}: the model has {} positions; use at most that", o.context, config.context);
  if (config.takes_whole() && o.context > o.max_rows)
    return error(Code::invalid,
                 "context {}: the model takes a text in one step of at most {} rows; use a larger --chunk or a smaller "
                 "--ctx",
                 o.context, o.max_rows);
  if (o.sequences == 0 || o.sequences > 4096) return error(Code::invalid, "batch {} is not in 1 to 4096", o.sequences);
  if (o.max_rows == 0 || o.max_rows > 65536) return error(Code::invalid, "chunk {} is not in 1 to 65536", o.max_rows);
  if (!(o.outlier_threshold >= 0))
    return error(Code::invalid, "outlier threshold {} is not a number from 0", o.outlier_threshold);
  if (config.head_dim % info(o.kv).unit != 0)
    return error(Code::unsupported, "--kv {} needs a head dimension that is a multiple of {}; this model's is {}",
                 info(o.kv).name, info(o.kv).unit, config.head_dim);
  return {};
}

std::vector<KvLayout> layouts(const ModelConfig& config, KvFormat kv) {
  return std::vector<KvLayout>(config.layers, KvLayout{kv, config.kv_heads, config.head_dim});
}

PlanOptions plan_options(const SessionOptions& o, uint32_t threads, Isa isa) {
  PlanOptions p;
  p.max_rows = o.max_rows;
  p.max_logits = o.max_logits;
  p.max_context = o.context;
  p.threads = threads;
  p.isa = isa;
  p.kv = o.kv;
  p.balance_attention = o.balance_attention;
  p.cut_keys = o.cut_keys;
  p.cascade = o.cascade;
  p.row_form = o.row_form;
  p.outlier_threshold = o.outlier_threshold;
  return p;
}

DevicePlanOptions device_options(const SessionOptions& o, const LoraLimits& loras, const DeviceRuntime& runtime) {
  DevicePlanOptions p;
  const DeviceInfo& device = runtime.device->info();
  if (const auto hopper = hopper_tuning(device, {o.hopper, o.deep_stages}))
    p.warpgroups = WgmmaDevice{device.multiprocessors, uint32_t(device.shared_per_block), hopper->flight_bytes};
  p.max_rows = o.max_rows;
  p.max_logits = o.max_logits;
  p.max_context = o.context;
  p.max_sequences = std::min(o.max_rows, std::max(o.sequences, o.max_logits));
  p.max_adapters = std::min(p.max_sequences, loras.adapters);
  p.kv = o.kv;
  return p;
}

/// What a device computes otherwise, or not at all.
Status check_on_device(const SessionOptions& o) {
  if (o.row_form != RowForm::quantized || o.outlier_threshold > 0)
    return error(Code::unsupported, "on a device integer weights meet rows of 8 bits; use --act int8");
  return {};
}

/// Bytes of keys and values; an error when they cannot even be counted.
Result<uint64_t> pages_bytes(const ModelConfig& config, const SessionOptions& o) {
  const auto bytes = checked_mul(PageStore::page_bytes(layouts(config, o.kv)), page_count(config, o));
  if (bytes && page_count(config, o) <= UINT32_MAX) return *bytes;
  return error(Code::no_memory,
               "{} sequences of {} tokens need {} KV pages, more than can be addressed; use a smaller --ctx or --batch",
               o.sequences, o.context, page_count(config, o));
}

}  // namespace

Session::Session(const Model& model) : model_(model) {}
Session::~Session() = default;

Result<MemoryPlan> Session::plan_memory(const Checkpoint& file, const ModelConfig& config, const ModelOptions& model,
                                        const SessionOptions& o) {
  VIBEE_TRY(check(config, o));
  VIBEE_TRY(check(model.lora));
  VIBEE_ASSIGN(const Graph graph, Model::graph_of(file, config, model));
  MemoryPlan plan;
  plan.page_count = uint32_t(page_count(config, o));
  plan.page_bytes = PageStore::page_bytes(layouts(config, o.kv));
  if (model.lora.adapters) plan.adapters = LoraPool::bytes(adapted_products(graph), model.lora);
  if (model.device) {
    VIBEE_TRY(check_on_device(o));
    plan.weights = DeviceMatrices::bytes(wanted_matrices(graph));
    VIBEE_ASSIGN(plan.arena, DevicePlan::bytes(graph, device_options(o, model.lora, *model.device)));
    VIBEE_ASSIGN(plan.pages, pages_bytes(config, o));
    return plan;
  }
  const WeightBytes weights = Model::weight_bytes(graph, model.isa);
  plan.weights = weights.panels + weights.vectors;
  VIBEE_ASSIGN(plan.arena, Plan::arena_bytes(graph, plan_options(o, model.threads, model.isa)));
  VIBEE_ASSIGN(plan.pages, pages_bytes(config, o));
  return plan;
}

Status Session::create_on_device(const std::shared_ptr<DeviceRuntime>& runtime, uint32_t pages) {
  VIBEE_TRY(check_on_device(options_));
  const LoraPool* const loras = model_.loras();
  const DevicePlanOptions plan = device_options(options_, loras ? loras->limits() : LoraLimits{}, *runtime);
  const std::vector<KvLayout> layers = layouts(model_.config(), options_.kv);
  VIBEE_ASSIGN(const uint64_t work, DevicePlan::bytes(model_.graph(), plan));
  VIBEE_ASSIGN(pool_, DevicePool::create(runtime->device, work + DevicePages::bytes(layers, pages)));
  VIBEE_ASSIGN(device_plan_, DevicePlan::compile(model_.graph(), model_.device_weights(), plan, runtime, *pool_));
  VIBEE_ASSIGN(auto memory, DevicePages::create(runtime, *pool_, layers, pages));
  device_pages_ = memory.get();
  pages_ = PageStore::over(std::move(memory), layers, pages);
  return {};
}

Result<std::unique_ptr<Session>> Session::create(const Model& model, const SessionOptions& o) {
  VIBEE_TRY(check(model.config(), o));
  std::unique_ptr<Session> s(new Session(model));
  s->options_ = o;
  VIBEE_ASSIGN(const uint64_t pages, pages_bytes(model.config(), o));
  if (!model.device() && pages > available_memory())
    return error(
        Code::no_memory,
        "{} sequences of {} tokens take {} MiB of keys and values, {} MiB are available; use --ctx {} or --kv q8_0",
        o.sequences, o.context, pages >> 20, available_memory() >> 20,
        std::max<uint64_t>(kPageTokens,
                           uint64_t(o.context) * (available_memory() / 2) / pages / kPageTokens * kPageTokens));
  const auto page_total = uint32_t(page_count(model.config(), o));
  if (model.device()) {
    VIBEE_TRY(s->create_on_device(model.device(), page_total));
  } else {
    VIBEE_ASSIGN(s->plan_,
                 Plan::compile(model.graph(), model.weights(), plan_options(o, model.team().size(), model.isa())));
    VIBEE_ASSIGN(s->pages_, PageStore::create(layouts(model.config(), o.kv), page_total));
  }
  s->tokens_.reserve(o.max_rows);
  s->positions_.reserve(o.max_rows);
  s->types_.reserve(o.max_rows);
  s->sequences_.reserve(o.max_rows);
  s->logits_rows_.reserve(o.max_logits);
  s->states_.reserve(o.max_rows);
  return s;
}

Result<float*> Session::compute() {
  const RaggedBatch batch{tokens_, positions_, sequences_, logits_rows_, types_};
  if (device_plan_) {
    VIBEE_TRY(device_plan_->run(batch, device_pages_->views()));
    return device_plan_->outputs();
  }
  plan_->run(model_.team(), batch, pages_.views());
  return plan_->outputs();
}

Result<std::span<float>> Session::step(std::span<const StepRows> rows) {
  tokens_.clear();
  positions_.clear();
  sequences_.clear();
  logits_rows_.clear();
  types_.clear();
  const ModelConfig& config = model_.config();
  const bool pooled = pools(config.output);
  const auto logits_of = [&](const StepRows& r) {
    return pooled ? 1 : uint32_t(std::min<uint64_t>(r.logits, r.tokens.size()));
  };
  uint64_t total = 0, wanted = 0;
  for (const StepRows& r : rows) {
    const uint64_t n = r.tokens.size();
    if (n == 0) return error(Code::invalid, "step: a sequence without tokens");
    if (r.state->length() + n > options_.context)
      return error(Code::invalid, "{} tokens and {} new ones exceed the context of {}; use a larger --ctx",
                   r.state->length(), n, options_.context);
    if (config.takes_whole() && r.state->length() > 0)
      return error(Code::invalid, "step: {} tokens are there already; the model takes a text in one step",
                   r.state->length());
    for (int32_t token : r.tokens)
      if (token < 0 || uint32_t(token) >= config.vocab)
        return error(Code::invalid, "token {} is not in the vocabulary of {}", token, config.vocab);
    if (!r.types.empty() && r.types.size() != n)
      return error(Code::invalid, "step: {} types of {} tokens", r.types.size(), n);
    for (int32_t type : r.types)
      if (type < 0 || uint32_t(type) >= std::max(config.token_types, 1u))
        return error(Code::invalid, "token type {}: the model has {}", type, config.token_types);
    if (r.adapter && (model_.loras() == nullptr || !model_.loras()->owns(*r.adapter)))
      return error(Code::invalid, "step: an adapter of another model");
    total += n;
    wanted += logits_of(r);
  }
  if (total == 0 || total > options_.max_rows)
    return error(Code::invalid, "step: {} rows, 1 to {} fit", total, options_.max_rows);
  if (wanted > options_.max_logits)
    return error(Code::invalid, "step: logits of {} rows, at most {} fit", wanted, options_.max_logits);
  states_.clear();
  for (const StepRows& r : rows) states_.push_back(r.state);
  std::sort(states_.begin(), states_.end());
  if (std::adjacent_find(states_.begin(), states_.end()) != states_.end())
    return error(Code::invalid, "step: one sequence twice; its rows belong together");
  const auto give_back = [&] {  // pages that this step has reserved
    for (const StepRows& back : rows) back.state->truncate(back.state->length());
  };
  for (const StepRows& r : rows) {
    Status status = r.state->reserve(uint32_t(r.tokens.size()));
    if (status.ok()) continue;
    give_back();
    return status;
  }
  for (const StepRows& r : rows) {
    const auto first = uint32_t(tokens_.size()), n = uint32_t(r.tokens.size());
    sequences_.push_back(
        {first, n, r.state->length(), r.state->pages(), r.adapter ? r.adapter->weights().data() : nullptr});
    tokens_.insert(tokens_.end(), r.tokens.begin(), r.tokens.end());
    for (uint32_t i = 0; i < n; ++i) positions_.push_back(int32_t(r.state->length() + i));
    types_.insert(types_.end(), r.types.begin(), r.types.end());
    types_.resize(tokens_.size());
    for (uint32_t i = n - logits_of(r); i < n; ++i) logits_rows_.push_back(first + i);
  }
  watch_.begin(uint32_t(tokens_.size()));
  Result<float*> logits = compute();
  watch_.end();
  if (!logits.ok()) {
    give_back();
    return logits.take_status();
  }
  for (const StepRows& r : rows) r.state->commit(uint32_t(r.tokens.size()));
  const uint32_t width = device_plan_ ? device_plan_->output_width() : plan_->output_width();
  return std::span<float>(*logits, size_t(wanted) * width);
}

}  // namespace vibee
