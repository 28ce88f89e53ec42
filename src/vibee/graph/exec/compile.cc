// SPDX-License-Identifier: Apache-2.0
// Graph -> Plan: which calls, where barriers stand, where values lie.
#include <algorithm>

#include "vibee/base/memory/checked.h"
#include "vibee/graph/exec/plan.h"
#include "vibee/graph/memory/arena.h"
#include "vibee/kernels/attention/flash_decoding.h"

namespace vibee {

/// Everything about a plan that does not need weights.
struct Plan::Layout {
  std::vector<uint32_t> call_nodes;  // node indices in order
  std::vector<uint8_t> barrier_small, barrier_large;
  std::vector<Place> places;
  uint64_t bytes = 0, parts_offset = 0, quantized_offset = 0, quantized_stride = 0;
  uint64_t gathered_offset = 0, gathered_stride = 0, panels_offset = 0, panels_stride = 0;
  uint32_t part_slots = 0, regions_small = 0;

  static Result<Layout> make(const Graph& g, const PlanOptions& o);
};

namespace {

/// Splits of long contexts that several threads share keep their parts apart until the fold: room for as many whole
/// contexts as v1691 would cut.
uint32_t slots_for_parts(const PlanOptions& o) {
  if (o.threads == 1 || o.max_context <= kSplitKeys || !o.cut_keys) return 0;
  return kItemsAThread / 2 * o.threads * ((o.max_context + kSplitKeys - 1) / kSplitKeys);
}

/// Bytes of `rows` quantised rows as the plan keeps them.
uint64_t quantized_bytes(const PlanOptions& o, uint32_t rows, uint32_t k) {
  const uint64_t bf16 = o.row_form == RowForm::bf16 ? bf16_row_bytes(rows, k) : 0;
  return std::max(bf16, act_bytes(rows, k) + (o.outlier_threshold > 0 ? outlier_bytes(rows, k) : 0));
}
/// Bytes of a value in a step.
uint64_t value_bytes(const PlanOptions& o, const Type& type, Sizes sizes) {
  if (type.elem.kind != Elem::act8) return vibee::bytes(type, sizes);
  return quantized_bytes(o, uint32_t(value(type.dims[0], sizes)), uint32_t(value(type.dims[1], sizes)));
}

/// The input whose memory the output may take; SIZE_MAX: none.
size_t overwritten_input(const Node& node) {
  return node.op == Op::linear_add ? 2 : node.op == Op::lora_up ? 0 : SIZE_MAX;
}

/// Rows that other rows are gathered into.
bool gathers_rows(Op op) { return op == Op::take_rows || op == Op::pool_rows; }

/// Memory in which a thread makes panels of the node's weights ready: those of 32 columns of both weights at once where
/// a product is gated, else of one panel.
uint64_t panel_bytes(const Graph& g, const Node& node, const PlanOptions& o) {
  uint64_t one = 0, all = 0;
  for (size_t i = 0; i < node.in.size(); ++i) {
    const Type& type = g.type(node.in[i]);
    if (!takes_weight(g, node, i) || type.dims.size() < 2 || node.op == Op::embed) continue;
    const Format format = type.elem.format;
    const uint64_t bytes =
        panel_scratch(gemm_kernel(format, o.isa), uint32_t(type.dims.back().n), o.max_rows, o.row_form);
    one = std::max(one, bytes);
    all += bytes * (32 / panel_rows(format, o.isa));
  }
  return node.op == Op::linear_gated ? all : one;
}

}  // namespace

Result<Plan::Layout> Plan::Layout::make(const Graph& g, const PlanOptions& o) {
  Layout l;
  const size_t n = g.values.size();
  std::vector<int32_t> producer(n, -1);  // call index
  uint32_t group = 1;
  for (uint32_t i = 0; i < g.nodes.size(); ++i) {
    const Node& node = g.nodes[i];
    if (info(node.op).level == OpLevel::source) continue;
    if (run_function(node.op) == nullptr)
      return error(Code::unsupported, "node {} ({}) has no kernel for running; only the interpreter evaluates it", i,
                   info(node.op).name);
    VIBEE_TRY(check_runnable(g, node).within(fmt::format("node {}", i)));
    if (o.outlier_threshold > 0 && node.integer("quantized") != 0)
      return error(Code::unsupported, "node {} ({}) keeps no outliers apart; disable the pass quantize_outputs", i,
                   info(node.op).name);
    // Experts multiply a few rows at a time, gathered into the thread's own memory; so does the router.
    const bool moe = is_expert(node.op) || node.op == Op::moe_route;
    if (moe || (o.row_form != RowForm::floats && quantizes_rows(g, node))) {
      const std::vector<Dim>& weight = g.type(node.in[is_expert(node.op) ? 2 : 1]).dims;
      const uint32_t rows = moe ? std::min(kExpertRows, o.max_rows) : o.max_rows;
      const auto k = uint32_t(weight.back().n);
      if (o.row_form != RowForm::floats && quantizes_rows(g, node))
        l.quantized_stride = std::max<uint64_t>(l.quantized_stride, round_up(quantized_bytes(o, rows, k), 64));
      const uint64_t gathered = node.op == Op::moe_route ? uint64_t(weight[0].n) : k;
      if (moe) l.gathered_stride = std::max<uint64_t>(l.gathered_stride, round_up(4 * rows * gathered, 64));
    }
    l.panels_stride = std::max(l.panels_stride, panel_bytes(g, node, o));
    for (ValueId id : node.out) producer[id] = int32_t(l.call_nodes.size());
    if (node.op == Op::attention)
      group = std::max<uint32_t>(group, uint32_t(node.integer("heads") / node.integer("kv_heads")));
    l.call_nodes.push_back(i);
  }
  // Barriers, for steps that repeat row work and for steps that slice it. `shared_since` is the last call that wrote
  // shared memory after the last barrier: a value written behind a barrier needs none. Memory is reused from region to
  // region of small steps, so large steps have every barrier of the small ones and more.
  l.barrier_small.resize(l.call_nodes.size());
  l.barrier_large.resize(l.call_nodes.size());
  for (const bool small : {true, false}) {
    auto& barrier = small ? l.barrier_small : l.barrier_large;
    int32_t last_barrier = -1, last_attention = -1;
    for (uint32_t c = 0; c < l.call_nodes.size(); ++c) {
      const Node& node = g.nodes[l.call_nodes[c]];
      if (l.barrier_small[c]) {
        barrier[c] = 1;
        last_barrier = int32_t(c);
        if (node.op == Op::attention) last_attention = int32_t(c);
        continue;
      }
      for (ValueId id : node.in) {
        const int32_t from = producer[id];
        if (from < 0 || from < last_barrier) continue;  // a source, or written before the last barrier
        const bool rows = spread_of(g.nodes[l.call_nodes[uint32_t(from)]].op) == Spread::rows;
        const bool mine = rows && (small || (spread_of(node.op) == Spread::rows && !gathers_rows(node.op)));
        if (mine) continue;
        barrier[c] = 1;
        last_barrier = int32_t(c);
        break;
      }
      if (node.op != Op::attention) continue;
      // Two attentions share the memory of their parts.
      if (last_attention >= 0 && last_attention >= last_barrier) {
        barrier[c] = 1;
        last_barrier = int32_t(c);
      }
      last_attention = int32_t(c);
    }
  }
  // Lifetimes are counted in regions that hold for both kinds of step: a value may take the place of another only where
  // a barrier lies between them whether row work is repeated or sliced.
  std::vector<uint32_t> region(l.call_nodes.size());
  uint32_t r = 0;
  l.regions_small = 1;
  for (uint32_t c = 0; c < l.call_nodes.size(); ++c) {
    region[c] = r += l.barrier_small[c] && l.barrier_large[c];
    l.regions_small += l.barrier_small[c];
  }

  std::vector<uint32_t> last(n, 0), readers(n, 0);
  for (uint32_t c = 0; c < l.call_nodes.size(); ++c) {
    for (ValueId id : g.nodes[l.call_nodes[c]].in) {
      last[id] = region[c];
      ++readers[id];
    }
    for (ValueId id : g.nodes[l.call_nodes[c]].out) last[id] = std::max(last[id], region[c]);
  }
  for (ValueId id : g.outputs) last[id] = r;

  // A product that is added to a residual, or what an adapter adds to a product, overwrites it when nobody reads it in
  // this region or later.
  std::vector<ValueId> home(n);
  for (ValueId id = 0; id < n; ++id) home[id] = id;
  std::vector<bool> output(n);
  for (ValueId id : g.outputs) output[id] = true;
  for (uint32_t c = 0; c < l.call_nodes.size(); ++c) {
    const Node& node = g.nodes[l.call_nodes[c]];
    const size_t overwritten = overwritten_input(node);
    if (overwritten == SIZE_MAX) continue;
    const ValueId residual = node.in[overwritten];
    if (output[residual] || producer[residual] < 0 || std::count(node.in.begin(), node.in.end(), residual) > 1)
      continue;
    if (spread_of(g.nodes[l.call_nodes[uint32_t(producer[residual])]].op) == Spread::rows) continue;  // may be repeated
    bool alone = true;
    for (uint32_t other = 0; other < l.call_nodes.size() && alone; ++other)
      for (ValueId id : g.nodes[l.call_nodes[other]].in)
        alone &= id != residual || other == c || region[other] < region[c];
    if (alone) home[node.out[0]] = home[residual];
  }

  const Sizes most{int64_t(o.max_rows), int64_t(o.max_logits)};
  const Sizes few{int64_t(std::min(o.max_rows, kReplicatedRows)),
                  int64_t(std::min({o.max_rows, o.max_logits, kReplicatedRows}))};
  std::vector<ArenaRequest> requests;
  std::vector<uint32_t> request_of(n, UINT32_MAX);
  l.places.resize(n);
  for (ValueId id = 0; id < n; ++id) {
    if (producer[id] < 0) continue;
    Place& p = l.places[id];
    p.repeated = spread_of(g.nodes[l.call_nodes[uint32_t(producer[id])]].op) == Spread::rows;
    const ValueId owner = home[id];
    if (owner != id) {
      requests[request_of[owner]].last = std::max(requests[request_of[owner]].last, last[id]);
      request_of[id] = request_of[owner];
      continue;
    }
    uint64_t size = value_bytes(o, g.type(id), most);
    if (p.repeated) {
      p.stride = round_up(value_bytes(o, g.type(id), few), 64);
      size = std::max(size, p.stride * o.threads);
    }
    request_of[id] = uint32_t(requests.size());
    requests.push_back({size, region[uint32_t(producer[id])], last[id]});
  }
  const ArenaPlan arena = plan_arena(requests);
  for (ValueId id = 0; id < n; ++id)
    if (request_of[id] != UINT32_MAX) l.places[id].offset = arena.offset[request_of[id]];
  l.parts_offset = arena.bytes;
  l.part_slots = slots_for_parts(o);
  l.quantized_offset = round_up(l.parts_offset + uint64_t(l.part_slots) * group * sizeof(FoldState), 64);
  l.gathered_offset = l.quantized_offset + l.quantized_stride * o.threads;
  l.panels_offset = l.gathered_offset + l.gathered_stride * o.threads;
  l.bytes = l.panels_offset + l.panels_stride * o.threads;
  return l;
}

Result<uint64_t> Plan::arena_bytes(const Graph& graph, const PlanOptions& options) {
  VIBEE_ASSIGN(const Layout layout, Layout::make(graph, options));
  return layout.bytes;
}

Result<std::unique_ptr<Plan>> Plan::compile(const Graph& g, const WeightTable& weights, const PlanOptions& o) {
  VIBEE_CHECK(o.max_rows > 0 && o.threads > 0);
  VIBEE_TRY(verify(g));
  VIBEE_ASSIGN(Layout layout, Layout::make(g, o));
  auto plan = std::make_unique<Plan>();
  plan->options_ = o;
  const PointwiseKernels& pw = pointwise(o.isa);
  for (uint32_t c = 0; c < layout.call_nodes.size(); ++c) {
    const Node& node = g.nodes[layout.call_nodes[c]];
    Call call;
    call.run = run_function(node.op);
    call.spread = spread_of(node.op);
    call.barrier_small = layout.barrier_small[c];
    call.barrier_large = layout.barrier_large[c];
    VIBEE_ASSIGN(static_cast<CallParameters&>(call), call_parameters(g, node, weights.vector));
    call.pw = &pw;
    call.quantizes_rows = o.row_form != RowForm::floats && quantizes_rows(g, node);
    uint32_t matrices = 0, vectors = 0;
    for (ValueId id : node.in) {
      const Node& from = g.producer(id);
      if (from.op != Op::weight) continue;
      const std::string_view name = from.text("name");
      const auto& dims = g.type(id).dims;
      if (dims.size() >= 2) {
        const PackedWeight* w = weights.matrix(name);
        if (w == nullptr) return error(Code::not_found, "the graph needs a tensor '{}' that was not loaded", name);
        const bool same = w->n == dims[dims.size() - 2].n && w->k == dims.back().n &&
                          w->experts == (dims.size() == 3 ? dims[0].n : 1);
        if (!same || w->format != g.type(id).elem.format)
          return error(Code::invalid, "tensor '{}' does not have the type {} of the graph", name,
                       to_string(g.type(id)));
        VIBEE_CHECK(matrices < 3);
        call.weight[matrices] = w;
        call.gemm[matrices++] = &gemm_kernel(w->format, o.isa);
      } else {
        const float* v = weights.vector(name);
        if (v == nullptr) return error(Code::not_found, "the graph needs a tensor '{}' that was not loaded", name);
        VIBEE_CHECK(vectors < 3);
        call.vector[vectors++] = v;
      }
    }
    if (node.op == Op::attention || node.op == Op::linear_qkv) {
      call.attention = &attention_kernel(o.kv, o.isa);
      if (node.op == Op::attention) {
        auto& lists = plan->work_lists_;
        const auto same = [&](const WorkList& list) { return list.serves(call.shape); };
        call.work_list = uint32_t(std::find_if(lists.begin(), lists.end(), same) - lists.begin());
        const bool is_new = call.work_list == lists.size();
        if (is_new) lists.emplace_back(call.shape, call.attention->tile, o.max_rows, o.threads, layout.part_slots);
        if (o.row_form == RowForm::bf16) call.many_attention = bf16_attention_kernel(o.kv, o.isa);
        if (is_new && call.many_attention)
          plan->many_lists_.emplace_back(call.shape, call.many_attention->tile, o.max_rows, o.threads, 0);
      }
    }
    plan->calls_.push_back(std::move(call));
  }
  plan->places_ = std::move(layout.places);
  for (const Value& v : g.values) plan->per_logits_row_.push_back(!v.type.dims.empty() && v.type.dims[0].symbol == 'S');
  plan->parts_offset_ = layout.parts_offset;
  plan->regions_small_ = layout.regions_small;
  plan->quantized_offset_ = layout.quantized_offset;
  plan->quantized_stride_ = layout.quantized_stride;
  plan->gathered_offset_ = layout.gathered_offset;
  plan->gathered_stride_ = layout.gathered_stride;
  plan->panels_offset_ = layout.panels_offset;
  plan->panels_stride_ = layout.panels_stride;
  if (g.outputs.empty() || !g.type(g.outputs[0]).elem.is_f32() ||
      info(g.producer(g.outputs[0]).op).level == OpLevel::source)
    return error(Code::invalid, "a plan's first output is f32 rows that it computes");
  plan->output_ = g.outputs[0];
  plan->output_width_ = uint32_t(g.type(g.outputs[0]).dims[1].n);
  VIBEE_ASSIGN(plan->arena_, HugeBuffer::allocate(layout.bytes));
  return plan;
}

}  // namespace vibee
