// SPDX-License-Identifier: Apache-2.0
#include "vibee/graph/exec/train_plan.h"

#include <algorithm>

#include "vibee/base/memory/checked.h"
#include "vibee/graph/cost/cost.h"
#include "vibee/graph/exec/stored_products.h"
#include "vibee/graph/exec/train_call.h"
#include "vibee/graph/exec/train_gemm.h"
#include "vibee/graph/exec/train_products.h"
#include "vibee/graph/ir/rope_frequencies.h"
#include "vibee/graph/ir/tensor_value.h"
#include "vibee/graph/memory/arena.h"
#include "vibee/graph/pass/gradient_bucket.h"

namespace vibee {
namespace {

bool is_loss(Op op) { return op == Op::cross_entropy || op == Op::cross_entropy_dx || op == Op::cross_entropy_dw; }
bool is_moe(Op op) {
  return op == Op::moe_route || op == Op::moe_gated || op == Op::moe_down || op == Op::moe_gated_dx ||
         op == Op::moe_gated_dw || op == Op::moe_down_dx || op == Op::moe_down_dw;
}
/// The dense products of a node at most, but for a mixture of experts.
std::vector<GemmProblem> dense_products(const Graph& g, const Node& node, const TrainOptions& o) {
  if (is_rounded_product(node) || is_rounded_loss(node) || (is_stored_product(node) && node.op == Op::linear))
    return {};
  const auto dim = [&](ValueId id, size_t i) {
    const Dim& d = g.type(id).dims[i];
    return uint32_t(value(d, {int64_t(o.max_rows), 0}));
  };
  const auto layout = [&](size_t in, bool transposed) {
    const Type& type = g.type(node.in[in]);
    const bool decoded = is_blocks(type) || (in == 1 && is_stored_product(node));
    return GemmLayout{decoded ? Format::f32 : type.elem.format, transposed};
  };
  const auto product = [](uint32_t m, uint32_t n, uint32_t k, const GemmLayout& a, const GemmLayout& b) {
    GemmProblem p;
    p.m = m, p.n = n, p.k = k, p.a = a, p.b = b;
    return p;
  };
  // Rows of a weight that are multiplied by at once.
  const auto weight_rows = [&] {
    const Type& type = g.type(node.in[1]);
    return is_blocks(type) ? std::min(decoded_rows(type), dim(node.in[1], 0)) : dim(node.in[1], 0);
  };
  const GemmLayout floats, across{Format::f32, true};
  if (node.op == Op::linear)
    return {product(dim(node.out[0], 0), weight_rows(), dim(node.in[1], 1), layout(0, false), layout(1, true))};
  if (node.op == Op::linear_dx)
    return {product(dim(node.out[0], 0), dim(node.in[1], 1), weight_rows(), layout(0, false), layout(1, false))};
  if (node.op == Op::linear_dw)
    return {product(dim(node.out[0], 0), dim(node.out[0], 1), dim(node.in[0], 0), layout(0, true), layout(1, false))};
  if (!is_loss(node.op)) return {};
  const uint32_t n = dim(node.in[1], 0), k = dim(node.in[1], 1), rows = std::min(loss_rows(n), o.max_rows);
  std::vector<GemmProblem> all = {product(rows, weight_rows(), k, floats, layout(1, true))};
  if (node.op == Op::cross_entropy_dx) all.push_back(product(rows, k, weight_rows(), floats, layout(1, false)));
  if (node.op == Op::cross_entropy_dw) all.push_back(product(n, k, rows, across, floats));
  return all;
}
/// Bytes that the products of a node work in.
uint64_t products_of(const Graph& g, const Node& node, const TrainOptions& o) {
  if (is_moe(node.op)) return train_moe_products(g, node, o);
  if (is_rounded_product(node) || is_rounded_loss(node)) return rounded_product_workspace(g, node, o);
  if (is_stored_product(node)) return stored_product_workspace(g, node, o);
  uint64_t most = 0;
  for (const GemmProblem& p : dense_products(g, node, o)) most = std::max(most, dense_workspace(p.m, p.n, p.k, o));
  return most;
}
/// The input in whose place an op may put its result element by element.
std::optional<size_t> overwritten(const Graph& g, const Node& node, const std::vector<uint32_t>& end) {
  switch (node.op) {
    case Op::add:
    case Op::mul:
    case Op::scale:
    case Op::soft_cap:
    case Op::activation:
    case Op::activation_dx:
    case Op::gated: break;
    default: return {};
  }
  const auto n = uint32_t(&node - g.nodes.data());
  for (size_t i = 0; i < node.in.size(); ++i)
    if (g.type(node.in[i]) == g.type(node.out[0]) && end[node.in[i]] == n &&
        info(g.producer(node.in[i]).op).level != OpLevel::source)
      return i;
  return {};
}
bool is_attention(Op op) { return op == Op::self_attention || op == Op::self_attention_dx; }

}  // namespace

Result<TrainPlan::Layout> TrainPlan::plan(const Graph& g, const TrainOptions& o) {
  VIBEE_TRY(verify(g));
  if (o.max_rows == 0 || o.max_rows > kMostTrainRows || o.threads == 0)
    return error(Code::invalid, "a training step has 1 to {} rows and at least one thread, not {} and {}",
                 kMostTrainRows, o.max_rows, o.threads);
  const Sizes sizes{int64_t(o.max_rows), 0};
  const auto last = uint32_t(g.nodes.size());
  std::vector<uint32_t> end(g.values.size());
  for (uint32_t n = 0; n < g.nodes.size(); ++n)
    for (ValueId id : g.nodes[n].in) end[id] = n;
  for (ValueId id : g.outputs) end[id] = last;
  Layout l;
  l.offsets.resize(g.values.size());
  std::vector<ArenaRequest> requests;
  std::vector<size_t> request(g.values.size());
  uint64_t shared = 0, decoded = 0, products = 0;
  l.done_by.resize(g.nodes.size());
  l.goes_on.resize(g.nodes.size());
  for (uint32_t n = 0; n < g.nodes.size(); ++n) {
    const Node& node = g.nodes[n];
    if (info(node.op).level == OpLevel::source) continue;
    l.done_by[n] = loss_of(g, node);
    VIBEE_TRY(check_trainable(g, node).within(fmt::format("node {}", n)));
    if (is_moe(node.op) && node.integer("k") * int64_t(o.max_rows) > INT32_MAX)
      return error(Code::unsupported, "node {}: {} experts for each of {} rows; take fewer rows a step", n,
                   node.integer("k"), o.max_rows);
    l.goes_on[n] = node.op == Op::moe_gated_dw && g.nodes[n - 1].op == Op::moe_gated_dx && g.nodes[n - 1].in == node.in;
    products = std::max(products, products_of(g, node, o));
    if (is_rounded_product(node) || is_rounded_loss(node)) want_rounded_weight(g, node, &l.rounded);
    if (is_stored_product(node)) want_stored_weight(g, node, o, &l.rounded);
    for (ValueId id : node.in)
      if (const Type& type = g.type(id); is_blocks(type))
        decoded = std::max(decoded, 4 * uint64_t(decoded_rows(type)) * uint64_t(type.dims[1].n));
    const std::optional<size_t> taken = overwritten(g, node, end);
    for (ValueId id : node.out) {
      request[id] = taken ? request[node.in[*taken]] : requests.size();
      if (!taken)
        requests.push_back({round_up(bytes(g.type(id), sizes), 64), l.done_by[n].value_or(n), std::max(end[id], n)});
      requests[request[id]].last = std::max(end[id], n);
    }
    if (is_attention(node.op)) {
      const AttentionShape shape = attention_shape(node);
      if (l.documents && *l.documents != node.in[3])
        return error(Code::unsupported, "node {}: documents are one input of the graph, %{} and %{} are two", n,
                     *l.documents, node.in[3]);
      l.documents = node.in[3];
      VIBEE_TRY(validate(shape).within(fmt::format("node {}", n)));
      l.scratch_stride = std::max(l.scratch_stride, round_up(self_attention_scratch(shape, o.max_rows), 64));
    }
    if (is_moe(node.op)) {
      l.scratch_stride = std::max(l.scratch_stride, round_up(4 * train_moe_scratch(g, node), 64));
      shared = std::max(shared, 4 * train_moe_shared(g, node, o.max_rows));
    }
    if (is_loss(node.op)) {
      const auto& w = g.type(node.in[1]).dims;
      const uint64_t chunk = loss_rows(uint32_t(w[0].n));
      shared = std::max(shared, 4 * (chunk * uint64_t(w[0].n + w[1].n) + 2 * uint64_t(o.max_rows)));
    }
  }
  const ArenaPlan arena = plan_arena(requests);
  for (ValueId id = 0; id < g.values.size(); ++id)
    if (info(g.producer(id).op).level != OpLevel::source) l.offsets[id] = arena.offset[request[id]];
  l.shared = round_up(arena.bytes, 64);
  l.scratch = l.shared + round_up(shared, 64);
  l.products = l.scratch + o.threads * l.scratch_stride;
  l.decoded = l.products + round_up(products, 64);
  l.weights = l.decoded + round_up(decoded, 64);
  const uint64_t rounded = l.rounded.empty() ? 0 : l.rounded.back().at + l.rounded.back().bytes + 64;
  l.bytes = l.weights + round_up(rounded, 64) + 64;
  return l;
}

std::vector<GemmProblem> TrainPlan::products(const Graph& graph, const TrainOptions& options) {
  std::vector<GemmProblem> all;
  for (const Node& node : graph.nodes)
    for (const GemmProblem& p : dense_products(graph, node, options)) all.push_back(p);
  return all;
}

Result<uint64_t> TrainPlan::arena_bytes(const Graph& graph, const TrainOptions& options) {
  VIBEE_ASSIGN(const Layout layout, plan(graph, options));
  return layout.bytes;
}

Result<std::unique_ptr<TrainPlan>> TrainPlan::compile(Graph graph,
                                                      const std::function<void*(std::string_view)>& weights,
                                                      const TrainOptions& options) {
  auto p = std::make_unique<TrainPlan>();
  p->graph_ = std::move(graph);
  const Graph& g = p->graph_;
  p->options_ = options;
  VIBEE_ASSIGN(p->layout_, plan(g, options));
  VIBEE_ASSIGN(p->arena_, HugeBuffer::allocate(p->layout_.bytes));
  p->floats_.resize(g.values.size());
  p->stored_.resize(g.values.size());
  p->integers_.resize(g.values.size());
  p->frequencies_.resize(g.values.size());
  p->documents_.reserve(options.max_rows);
  for (const Node& node : g.nodes) {
    if (node.op == Op::weight) {
      void* w = weights(node.text("name"));
      if (w == nullptr) return error(Code::not_found, "no weight '{}' was given", node.text("name"));
      if (is_packed(g.type(node.out[0]))) {
        p->stored_[node.out[0]] = static_cast<uint8_t*>(w);
      } else {
        p->floats_[node.out[0]] = static_cast<float*>(w);
      }
    } else if (node.op == Op::constant) {
      VIBEE_ASSIGN(std::vector<float> values, constant_values(node, g.type(node.out[0])));
      p->constants_.push_back(std::move(values));
      p->floats_[node.out[0]] = p->constants_.back().data();
    } else if (info(node.op).level != OpLevel::source) {
      for (ValueId id : node.out) {
        uint8_t* const at = p->arena_.data() + p->layout_.offsets[id];
        if (is_packed(g.type(id))) {
          p->stored_[id] = at;
        } else {
          p->floats_[id] = reinterpret_cast<float*>(at);
        }
      }
    }
    if (node.op == Op::rope_table) {
      const auto pairs = size_t(node.integer("dims") / 2);
      p->frequencies_[node.out[0]] = rope_frequencies(
          node, node.in.size() > 1 ? std::span<const float>(p->floats_[node.in[1]], pairs) : std::span<const float>());
    }
  }
  p->final_ = final_outputs(g);
  return p;
}

/// Inputs by name; indices are checked by what reads them.
Status TrainPlan::bind(const TrainInputs& inputs, uint32_t* rows) {
  bool first = true;
  const auto take = [&](const auto& list, const Node& node, auto** to) -> Status {
    const Type& type = graph_.type(node.out[0]);
    if (type.dims[0] != kRows || elements(type, {1, 0}) != 1)
      return error(Code::unsupported, "input '{}' is {}; a training step gives one number a row", node.text("name"),
                   to_string(type));
    for (const auto& [name, values] : list) {
      if (name != node.text("name")) continue;
      if (first) *rows = uint32_t(std::min<size_t>(values.size(), UINT32_MAX));
      first = false;
      if (values.size() != *rows)
        return error(Code::invalid, "input '{}' has {} numbers, the step has {} rows", name, values.size(), *rows);
      *to = const_cast<std::remove_const_t<std::remove_pointer_t<decltype(values.data())>>*>(values.data());
      return {};
    }
    return error(Code::not_found, "no input '{}' was given", node.text("name"));
  };
  for (const Node& node : graph_.nodes) {
    if (node.op != Op::input) continue;
    if (graph_.type(node.out[0]).elem == kI32) {
      int32_t* to = nullptr;
      VIBEE_TRY(take(inputs.integers, node, &to));
      integers_[node.out[0]] = to;
    } else {
      VIBEE_TRY(take(inputs.floats, node, &floats_[node.out[0]]));
    }
  }
  if (*rows == 0 || *rows > options_.max_rows)
    return error(Code::invalid, "a step of {} rows; the plan runs 1 to {}", *rows, options_.max_rows);
  documents_.clear();
  for (const Node& node : graph_.nodes) {
    const bool loss = is_loss(node.op);
    if (node.op == Op::embed || loss) {
      const ValueId id = node.in[loss ? 2 : 0];
      const int64_t least = loss ? -1 : 0, n = graph_.type(node.in[1]).dims[0].n;
      for (uint32_t r = 0; r < *rows; ++r)
        if (integers_[id][r] < least || integers_[id][r] >= n)
          return error(Code::invalid, "input '{}': {} in row {} is not in {} to {}", graph_.producer(id).text("name"),
                       integers_[id][r], r, least, n - 1);
    }
  }
  if (!layout_.documents) return {};
  const int32_t* begins = integers_[*layout_.documents];
  for (uint32_t r = 0; r < *rows; ++r) {
    if (begins[r] == int32_t(r)) {
      documents_.push_back({r, r + 1});
    } else if (r > 0 && begins[r] == begins[r - 1]) {
      documents_.back().end = r + 1;
    } else {
      return error(Code::invalid, "input '{}': row {} cannot be of a document that begins at row {}",
                   graph_.producer(*layout_.documents).text("name"), r, begins[r]);
    }
  }
  return {};
}

Status TrainPlan::run(Team& team, const TrainInputs& inputs, const OnOutput& on_output) {
  const auto tell = [&](size_t n, uint32_t tid) {
    for (const uint32_t output : final_[n]) on_output(output, tid);
  };
  VIBEE_TRY(run(team, inputs, graph_.nodes.size(), false, on_output ? OnNode(tell) : OnNode()));
  if (on_output) team.run([&](uint32_t tid) { tell(graph_.nodes.size(), tid); });
  return {};
}

Status TrainPlan::run_loss(Team& team, const TrainInputs& inputs, const OnNode& on_node) {
  return run(team, inputs, size_t(&graph_.producer(graph_.outputs[0]) - graph_.nodes.data()) + 1, true, on_node);
}

Status TrainPlan::run(Team& team, const TrainInputs& inputs, size_t nodes, bool loss_only, const OnNode& on_node) {
  VIBEE_CHECK(team.size() == options_.threads, "a team of {} threads, the plan is for {}", team.size(),
              options_.threads);
  VIBEE_TRY(bind(inputs, &rows_));
  const PointwiseKernels& pw = pointwise(options_.isa);
  const GradientKernels& gradients = gradient_kernels(options_.isa);
  team.run([&](uint32_t tid) {
    const TrainWorker worker{*this,           team,          tid, team.size(), rows_, loss_only, documents_,
                             inputs.rounding, inputs.scales, pw,  gradients};
    if (inputs.weights == 0 || inputs.weights != rounded_for_) {
      for (const RoundedWeight& weight : layout_.rounded)
        weight.format == Format::f32 ? round_weight(worker, weight) : store_weight(worker, weight);
      team.barrier();
    }
    if (tid == 0 && !loss_only) tell_weights(worker);
    for (size_t n = 0; n < nodes; ++n) {
      const Node& node = graph_.nodes[n];
      if (info(node.op).level == OpLevel::source) continue;
      train_function(node.op)(node, worker);
      team.barrier();
      if (on_node) on_node(n, tid);
    }
  });
  rounded_for_ = inputs.weights;
  return {};
}

const RoundedWeight* TrainPlan::rounded_weight(const Node& product) const {
  return find_rounded_weight(graph_, product, layout_.rounded);
}

LossGradients TrainPlan::gradients_of(const Node& loss) const {
  LossGradients found;
  for (size_t n = 0; n < graph_.nodes.size(); ++n)
    if (layout_.done_by[n] && &graph_.nodes[*layout_.done_by[n]] == &loss)
      (graph_.nodes[n].op == Op::cross_entropy_dx ? found.dx : found.dw) = &graph_.nodes[n];
  return found;
}

bool TrainPlan::done_by_loss(const Node& gradient) const {
  return layout_.done_by[size_t(&gradient - graph_.nodes.data())].has_value();
}

void TrainPlan::decode(ValueId id, Range rows, float* out) const {
  const Type& type = graph_.type(id);
  const NumericFormat& format = info(type.elem.format);
  const auto k = uint64_t(type.dims[1].n);
  format.decode_rows(stored_[id] + rows.begin * format.row_bytes(k), rows.end - rows.begin, k, out);
}

std::span<const float> TrainPlan::output(size_t i) const {
  const ValueId id = graph_.outputs[i];
  return {floats_[id], size_t(elements(graph_.type(id), {int64_t(rows_), 0}))};
}

}  // namespace vibee
