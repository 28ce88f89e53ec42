// SPDX-License-Identifier: Apache-2.0
// Graph -> DevicePlan, and a step.
#include "vibee/graph/device/device_plan.h"

#include <algorithm>
#include <cstring>

#include "vibee/base/memory/checked.h"
#include "vibee/graph/device/device_step.h"
#include "vibee/graph/memory/arena.h"
#include "vibee/kernels/gemm/float_panel_gemm_shape.h"
#include "vibee/kernels/gemm/packed_gemm_shape.h"
#include "vibee/kernels/pointwise/route_launch.h"

namespace vibee {
namespace {

/// Of what a launch reads: vectors of 16 bytes, and addresses that ldmatrix and copies like.
constexpr uint64_t kAlign = 256;

std::span<const std::byte> bytes_of(const void* data, uint64_t n) { return {static_cast<const std::byte*>(data), n}; }

uint64_t value_bytes(const Type& type, Sizes sizes) {
  const uint64_t bytes = type.elem.kind == Elem::act8 ? quantized_bytes(uint32_t(value(type.dims[0], sizes)),
                                                                        uint32_t(value(type.dims[1], sizes)))
                                                      : vibee::bytes(type, sizes);
  return round_up(bytes, kAlign);
}

/// Rows of floats as a weight wants them (DeviceStep::rows_for).
uint64_t converted_bytes(Format format, uint32_t rows, uint32_t k) {
  return meets_floats(format) ? 0 : lies_in_rows(format) ? uint64_t(rows) * k * 2 : quantized_bytes(rows, k);
}
/// Rows of floats that a call keeps between two launches (DeviceStep::float_rows).
uint64_t between_bytes(const Graph& g, const Node& node, uint64_t rows) {
  const auto width = [&](ValueId id, size_t dim) { return uint64_t(g.type(id).dims[dim].n); };
  switch (node.op) {
    case Op::linear_gated: return rows * width(node.in[1], 0) * 4;
    case Op::moe_route: return rows * width(node.in[1], 0) * 4;
    case Op::moe_gated:
    case Op::moe_down: return rows * uint64_t(node.integer("k")) * width(node.in[2], 1) * 4;
    case Op::norm_quantize: return rows * width(node.out[0], 1) * 4 * (node.in.size() > 2 ? 2 : 1);
    case Op::quantize: return node.in.size() > 1 ? rows * width(node.out[0], 1) * 4 : 0;
    default: return 0;
  }
}

/// The weights that a node multiplies rows by.
std::vector<ValueId> matrices_of(const Graph& g, const Node& node) {
  std::vector<ValueId> out;
  for (size_t i = 0; i < node.in.size(); ++i)
    if (takes_weight(g, node, i) && !is_vector(g.type(node.in[i]))) out.push_back(node.in[i]);
  return out;
}
std::vector<ValueId> vectors_of(const Graph& g, const Node& node) {
  std::vector<ValueId> out;
  for (size_t i = 0; i < node.in.size(); ++i)
    if (takes_weight(g, node, i) && is_vector(g.type(node.in[i]))) out.push_back(node.in[i]);
  return out;
}

/// Rows of a node's first input that its products take: an expert's second one has a row a pair.
uint32_t operand_rows(const Node& node, uint32_t rows) {
  return node.op == Op::moe_down ? rows * uint32_t(node.integer("k")) : rows;
}

/// Of a call, where it fails.
std::string what(const DeviceCall& call) {
  const std::string_view op = info(call.op).name;
  return call.label.empty() ? std::string(op) : fmt::format("{} ({})", op, call.label);
}

/// Of the parts of calls that lie behind one another in memory, where the next begins.
struct Cursor {
  uint64_t at = 0;
  uint64_t take(uint64_t bytes) {
    const uint64_t begin = at;
    at = round_up(at + bytes, kAlign);
    return begin;
  }
};

uint32_t list_of(const std::vector<AttentionGroups>& lists, const AttentionShape& shape) {
  const auto found = std::find_if(lists.begin(), lists.end(),
                                  [&](const AttentionGroups& list) { return same_division(list.shape(), shape); });
  return uint32_t(found - lists.begin());
}

}  // namespace

Result<DeviceLayout> DeviceLayout::make(const Graph& g, const DevicePlanOptions& o) {
  if (o.kv == KvFormat::int4) return error(Code::unsupported, "--kv int4: pages on a device are f32, f16 or q8_0");
  DeviceLayout l;
  const Sizes most{int64_t(o.max_rows), int64_t(o.max_logits)};
  std::vector<uint32_t> producer(g.values.size(), UINT32_MAX), last(g.values.size(), 0);
  uint64_t float_rows = 0, converted = 0, constants = 0;
  WgmmaMemory products;
  uint32_t starts = 0, pairs = 0;  // of work lists
  for (uint32_t i = 0; i < g.nodes.size(); ++i) {
    const Node& node = g.nodes[i];
    if (info(node.op).level == OpLevel::source) continue;
    if (device_function(node.op) == nullptr)
      return error(Code::unsupported, "node {} ({}) is not built for devices", i, info(node.op).name);
    VIBEE_TRY(check_runnable(g, node).within(fmt::format("node {}", i)));
    if (node.integer("quantized") != 0)
      return error(Code::unsupported,
                   "node {} ({}) writes quantised rows, which is the CPU's; disable the pass quantize_outputs", i,
                   info(node.op).name);
    const auto call = uint32_t(l.nodes.size());
    l.nodes.push_back(i);
    for (ValueId id : node.in) last[id] = call;
    for (ValueId id : node.out) producer[id] = last[id] = call;
    for (ValueId id : matrices_of(g, node)) {
      const Type& type = g.type(id);
      const auto k = uint32_t(type.dims.back().n);
      if (is_scaled_float(type.elem.format)) {
        const auto form = float_panel_form(type.elem.format, k);
        if (!form.ok()) return Status(form.status()).within(fmt::format("node {} ({})", i, info(node.op).name));
        if (type.dims.size() > 2)
          return error(Code::unsupported, "node {} ({}): experts in {} are not built for devices", i,
                       info(node.op).name, info(type.elem.format).name);
      } else if (!lies_in_rows(type.elem.format)) {
        const auto form = panel_form(type.elem.format, k);
        if (!form.ok()) return Status(form.status()).within(fmt::format("node {} ({})", i, info(node.op).name));
      }
      if (node.op != Op::embed && type.dims.size() == 2) {
        const WgmmaMemory mine = wgmma_memory(o, type.elem.format, uint32_t(type.dims[type.dims.size() - 2].n), k);
        products = {std::max(products.parts, mine.parts), std::max(products.counters, mine.counters)};
      }
      if (node.op != Op::embed && g.type(node.in[0]).elem.is_f32())
        converted = std::max(converted, converted_bytes(type.elem.format, operand_rows(node, o.max_rows), k));
    }
    float_rows = std::max(float_rows, between_bytes(g, node, o.max_rows));
    for (ValueId id : vectors_of(g, node)) constants += round_up(uint64_t(g.type(id).dims[0].n) * 4, kAlign);
    if (node.op == Op::rope_table) constants += round_up(uint64_t(node.integer("dims") / 2) * 8, kAlign);
    if (node.op == Op::moe_route && g.type(node.in[1]).dims[0].n > kMostRouted)
      return error(Code::unsupported, "node {} (moe_route): {} experts; on a device at most {}", i,
                   g.type(node.in[1]).dims[0].n, kMostRouted);
    if (is_expert(node.op)) {
      const auto experts = uint32_t(g.type(node.in[2]).dims[0].n);
      const auto mine = uint32_t(o.max_rows * uint64_t(node.integer("k")));
      starts = std::max(starts, experts + 1), pairs = std::max(pairs, mine);
    }
    if (node.op == Op::lora_down || node.op == Op::lora_up || node.op == Op::linear_lora)
      l.targets = std::max(l.targets, uint32_t(node.integer("target")) + 1);
    if (node.op != Op::attention) continue;
    const AttentionShape shape = attention_shape(node);
    VIBEE_TRY(validate(shape).within(fmt::format("node {}", i)));
    if (shape.head_dim % info(o.kv).unit != 0)
      return error(Code::unsupported, "node {}: --kv {} needs a head dimension that is a multiple of {}, not {}", i,
                   info(o.kv).name, info(o.kv).unit, shape.head_dim);
    if (list_of(l.lists, shape) < l.lists.size()) continue;
    const bool matrix = o.kv == KvFormat::f16 && o.matrix_attention;
    l.lists.emplace_back(shape, matrix ? kProductTile : kVectorTile,
                         AttentionGroups::Limits{o.max_rows, o.max_sequences, o.max_context, o.part_bytes});
  }
  if (g.outputs.empty() || !g.type(g.outputs[0]).elem.is_f32() || producer[g.outputs[0]] == UINT32_MAX)
    return error(Code::invalid, "a plan's first output is f32 rows that it computes");
  for (ValueId id : g.outputs) last[id] = uint32_t(l.nodes.size());

  Cursor place;
  l.inputs = place.at;
  l.tokens = place.take(4 * uint64_t(o.max_rows));
  l.positions = place.take(4 * uint64_t(o.max_rows));
  l.types = place.take(4 * uint64_t(o.max_rows));
  l.logits_rows = place.take(4 * uint64_t(o.max_logits));
  l.places = place.take(4 * uint64_t(o.max_rows));
  l.sequence_first = place.take(4 * uint64_t(o.max_sequences));
  l.sequence_count = place.take(4 * uint64_t(o.max_sequences));
  if (l.targets > 0) l.row_adapter = place.take(4 * uint64_t(o.max_rows));
  l.lists_at = place.at;
  uint64_t sums = 0, values = 0;
  for (const AttentionGroups& list : l.lists) {
    place.take(uint64_t(list.max_items()) * sizeof(SplitItem));
    place.take(uint64_t(list.max_row_parts()) * 4);
    sums = std::max(sums, list.sums_bytes());
    values = std::max(values, list.values_bytes());
  }
  place.take(uint64_t(o.max_sequences) * ((o.max_context + kPageTokens - 1) / kPageTokens) * 4);
  for (const size_t each : {sizeof(float*), sizeof(float*), sizeof(uint32_t), sizeof(float)})
    place.take(uint64_t(l.targets) * adapter_room(o.max_adapters) * each);
  l.inputs_end = place.at;
  l.list_at.resize(l.lists.size());

  std::vector<ArenaRequest> requests;
  std::vector<ValueId> owners;
  for (ValueId id = 0; id < g.values.size(); ++id)
    if (producer[id] != UINT32_MAX && g.type(id).elem.kind != Elem::state) {
      requests.push_back({value_bytes(g.type(id), most), producer[id], last[id]});
      owners.push_back(id);
    }
  const ArenaPlan arena = plan_arena(requests);
  const uint64_t values_at = place.take(arena.bytes);
  l.values.assign(g.values.size(), 0);
  for (size_t i = 0; i < owners.size(); ++i) l.values[owners[i]] = values_at + arena.offset[i];
  for (const Value& v : g.values) l.per_logits_row.push_back(!v.type.dims.empty() && v.type.dims[0].symbol == 'S');
  l.float_rows = place.take(float_rows);
  l.converted_rows = place.take(converted);
  l.route_starts = place.take(uint64_t(starts) * 4);
  l.route_pairs = place.take(uint64_t(pairs) * 4);
  l.route_tiles = place.take(uint64_t(pairs) * sizeof(RouteTile));
  l.part_sums = place.take(sums);
  l.part_values = place.take(values);
  l.product_parts = place.take(products.parts);
  l.product_counters = place.take(products.counters);
  l.product_counter_bytes = products.counters;
  l.constants = place.take(constants);
  l.bytes = place.at;
  return l;
}

DevicePlan::DevicePlan() = default;

DevicePlan::~DevicePlan() {
  // Nothing of a step that failed may still use the block.
  if (runtime_) (void)runtime_->stream.synchronize();
}

Result<uint64_t> DevicePlan::bytes(const Graph& graph, const DevicePlanOptions& options) {
  VIBEE_ASSIGN(const DeviceLayout layout, DeviceLayout::make(graph, options));
  return DevicePool::taken(layout.bytes);
}

Result<std::unique_ptr<DevicePlan>> DevicePlan::compile(const Graph& g, const DeviceWeightTable& weights,
                                                        const DevicePlanOptions& o,
                                                        std::shared_ptr<DeviceRuntime> runtime, DevicePool& pool) {
  VIBEE_CHECK(o.max_rows > 0 && o.max_logits > 0 && o.max_sequences > 0);
  VIBEE_TRY(verify(g));
  std::unique_ptr<DevicePlan> plan(new DevicePlan);
  plan->options_ = o;
  VIBEE_ASSIGN(DeviceLayout layout, DeviceLayout::make(g, o));
  plan->layout_ = std::make_unique<DeviceLayout>(std::move(layout));
  const DeviceLayout& l = *plan->layout_;
  VIBEE_ASSIGN(plan->block_, pool.take(l.bytes));
  plan->output_ = g.outputs[0];
  plan->output_width_ = uint32_t(g.type(g.outputs[0]).dims[1].n);
  VIBEE_ASSIGN(plan->inputs_, PinnedMemory::create(runtime->device, l.inputs_end));
  VIBEE_ASSIGN(plan->results_,
               PinnedMemory::create(runtime->device, uint64_t(o.max_logits) * plan->output_width_ * sizeof(float)));
  plan->runtime_ = std::move(runtime);
  DeviceRuntime& r = *plan->runtime_;
  Cursor constant{l.constants};
  const auto upload = [&](const void* data, uint64_t bytes) -> Result<CudaAddress> {
    const CudaAddress at = plan->block_.address() + constant.take(bytes);
    VIBEE_TRY(r.ring.copy_in(r.stream, at, bytes_of(data, bytes)));
    return at;
  };
  for (const uint32_t i : l.nodes) {
    const Node& node = g.nodes[i];
    DeviceCall call;
    VIBEE_ASSIGN(static_cast<CallParameters&>(call), call_parameters(g, node, weights.vector));
    call.run = device_function(node.op);
    uint32_t matrices = 0, vectors = 0;
    for (ValueId id : matrices_of(g, node)) {
      const std::string_view name = g.producer(id).text("name");
      const DeviceMatrix* const w = weights.matrix(name);
      if (w == nullptr) return error(Code::not_found, "the graph needs a tensor '{}' that was not loaded", name);
      const std::vector<Dim>& dims = g.type(id).dims;
      const bool same = w->n == dims[dims.size() - 2].n && w->k == dims.back().n &&
                        w->experts == (dims.size() == 3 ? dims[0].n : 1) && w->format == g.type(id).elem.format;
      if (!same)
        return error(Code::invalid, "tensor '{}' does not have the type {} of the graph", name, to_string(g.type(id)));
      VIBEE_CHECK(matrices < std::size(call.weight));
      call.weight[matrices++] = w;
    }
    for (ValueId id : vectors_of(g, node)) {
      const std::string_view name = g.producer(id).text("name");
      const float* const v = weights.vector(name);
      if (v == nullptr) return error(Code::not_found, "the graph needs a tensor '{}' that was not loaded", name);
      VIBEE_CHECK(vectors < std::size(call.vector));
      VIBEE_ASSIGN(call.vector[vectors++], upload(v, uint64_t(g.type(id).dims[0].n) * 4));
    }
    if (node.op == Op::rope_table) {
      VIBEE_ASSIGN(call.frequency_at, upload(call.frequencies.data(), call.frequencies.size() * 8));
    }
    if (node.op == Op::attention) call.list = list_of(l.lists, call.shape);
    plan->calls_.push_back(std::move(call));
  }
  if (l.product_counter_bytes)
    VIBEE_TRY(r.device->call(r.device->driver().fill, "counters of products",
                             plan->block_.address() + l.product_counters, static_cast<unsigned char>(0),
                             size_t(l.product_counter_bytes), r.stream.get()));
  VIBEE_TRY(r.stream.synchronize());
  for (const Sizes sizes : {Sizes{1, 1}, Sizes{int64_t(o.max_rows), int64_t(o.max_logits)}}) {
    DeviceStep step(*plan, sizes, {});
    VIBEE_TRY(plan->run_calls(step));
  }
  return plan;
}

/// Fills the step's inputs, says in shape_ what its launches depend on, and copies what is used.
Status DevicePlan::copy_inputs(const RaggedBatch& batch) {
  DeviceLayout& l = *layout_;
  std::byte* const base = inputs_.data();
  const auto put = [&](uint64_t at, const void* data, uint64_t bytes) {
    if (bytes) std::memcpy(base + (at - l.inputs), data, bytes);
  };
  put(l.tokens, batch.tokens.data(), batch.tokens.size_bytes());
  put(l.positions, batch.positions.data(), batch.positions.size_bytes());
  put(l.types, batch.types.data(), batch.types.size_bytes());
  put(l.logits_rows, batch.logits_rows.data(), batch.logits_rows.size_bytes());
  std::vector<uint32_t> tables, page_tables, first_rows, counts, places;
  for (const SequenceRows& s : batch.sequences) {
    page_tables.push_back(uint32_t(tables.size()));
    first_rows.push_back(s.row);
    counts.push_back(s.rows);
    tables.insert(tables.end(), s.pages, s.pages + (s.first + s.rows + kPageTokens - 1) / kPageTokens);
    for (uint32_t p = s.first; p < s.first + s.rows; ++p)
      places.push_back(s.pages[p / kPageTokens] * kPageTokens + p % kPageTokens);
  }
  put(l.places, places.data(), places.size() * 4);
  put(l.sequence_first, first_rows.data(), first_rows.size() * 4);
  put(l.sequence_count, counts.data(), counts.size() * 4);
  shape_ = {batch.tokens.size(), batch.logits_rows.size()};
  Cursor place{l.lists_at};
  const auto lay = [&](const auto& values) {
    const uint64_t bytes = values.size() * sizeof(values[0]), at = place.take(bytes);
    put(at, values.data(), bytes);
    return at;
  };
  if (l.targets > 0) {
    VIBEE_ASSIGN(const StepAdapters used, step_adapters(batch, l.targets, options_.max_adapters));
    put(l.row_adapter, used.of_row.data(), used.of_row.size() * 4);
    l.adapters = {lay(used.a), lay(used.b), lay(used.rank), lay(used.scale), used.room};
    shape_.push_back(used.room);
  }
  for (size_t i = 0; i < l.lists.size(); ++i) {
    AttentionGroups& list = l.lists[i];
    list.plan(batch.sequences, page_tables);
    VIBEE_CHECK(list.items().size() <= list.max_items() && list.row_parts().size() <= list.max_row_parts(),
                "{} items of {}, {} parts of {}", list.items().size(), list.max_items(), list.row_parts().size(),
                list.max_row_parts());
    l.list_at[i] = {lay(list.items()), lay(list.row_parts())};
    for (const AttentionGroup& g : list.groups())
      shape_.insert(shape_.end(), {g.row, g.rows, g.first_item, g.items, g.first_part});
  }
  l.page_tables = lay(tables);
  const uint64_t end = l.page_tables + tables.size() * 4;
  VIBEE_CHECK(end <= l.inputs_end, "{} bytes of {}", end, l.inputs_end);
  CudaDevice& d = *runtime_->device;
  const uint64_t used = end - l.inputs;
  return d.call(
      d.driver().copy_in, [&] { return fmt::format("{} bytes of a step's inputs", used); }, block_.address() + l.inputs,
      static_cast<const void*>(base), size_t(used), runtime_->stream.get());
}

Status DevicePlan::run_calls(DeviceStep& step) {
  for (const DeviceCall& call : calls_) VIBEE_TRY(call.run(call, step).within(what(call)));
  return {};
}

Status DevicePlan::enable_profile() {
  VIBEE_ASSIGN(kernel_times_, KernelTimes::create(runtime_->device, calls_.size()));
  times_.assign(calls_.size(), {});
  events_.clear();
  events_.reserve(1u << 16);
  profile_begin_ = std::chrono::steady_clock::now();
  return {};
}

Status DevicePlan::run_timed(DeviceStep& step) {
  const auto since =
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now() - profile_begin_);
  const auto begin = uint64_t(since.count());
  VIBEE_TRY(kernel_times_.begin(runtime_->stream));
  for (uint32_t i = 0; i < calls_.size(); ++i) {
    VIBEE_TRY(calls_[i].run(calls_[i], step).within(what(calls_[i])));
    VIBEE_TRY(kernel_times_.mark(runtime_->stream, i));
  }
  VIBEE_ASSIGN(const std::vector<KernelTimes::Piece> pieces, kernel_times_.collect());
  for (const KernelTimes::Piece& piece : pieces) {
    times_[piece.call].work += piece.end - piece.begin;
    ++times_[piece.call].calls;
    if (events_.size() < events_.capacity()) events_.push_back({piece.call, begin + piece.begin, begin + piece.end});
  }
  return {};
}

Status DevicePlan::run(const RaggedBatch& batch, std::span<const DeviceKv> kv) {
  const Sizes sizes{int64_t(batch.tokens.size()), int64_t(batch.logits_rows.size())};
  VIBEE_CHECK(!kv.empty() && sizes.t > 0 && sizes.t <= options_.max_rows && sizes.s <= options_.max_logits,
              "rows {} logits {}", sizes.t, sizes.s);
  if (batch.sequences.size() > options_.max_sequences)
    return error(Code::invalid, "a step of {} sequences; the plan has room for {}", batch.sequences.size(),
                 options_.max_sequences);
  const std::vector<uint64_t> before = std::move(shape_);
  VIBEE_TRY(copy_inputs(batch));
  shape_.push_back(kv[0].base);
  DeviceStep step(*this, sizes, kv);
  CudaStream& stream = runtime_->stream;
  if (!times_.empty()) {
    VIBEE_TRY(run_timed(step));
  } else if (options_.record && (shape_ == recorded_ || shape_ == before)) {
    if (shape_ != recorded_) {
      recorded_.clear();  // an update that fails may leave anything
      const auto record = [&] { return run_calls(step); };
      if (graph_.nodes() > 0) {
        VIBEE_TRY(graph_.update(stream, record));
      } else {
        VIBEE_ASSIGN(graph_, CudaGraph::capture(stream, record));
      }
      recorded_ = shape_;
    }
    VIBEE_TRY(graph_.launch(stream));
    ++recorded_steps_;
  } else {
    VIBEE_TRY(run_calls(step));
  }
  CudaDevice& d = *runtime_->device;
  const uint64_t bytes = uint64_t(sizes.s) * output_width_ * sizeof(float);
  if (bytes)
    VIBEE_TRY(d.call(
        d.driver().copy_out, [&] { return fmt::format("{} bytes of logits", bytes); },
        static_cast<void*>(results_.data()), block_.address() + layout_->values[output_], size_t(bytes), stream.get()));
  return stream.synchronize();
}

}  // namespace vibee
