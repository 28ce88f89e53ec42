// SPDX-License-Identifier: Apache-2.0
#include "vibee/graph/cost/cost.h"

#include <algorithm>
#include <cmath>

namespace vibee {

namespace {

/// How often an op multiplies its rows with each weight, or makes a product of the weight's size; gradients that make
/// what they need again do it twice.
double products(Op op) {
  switch (op) {
    case Op::linear:
    case Op::linear_add:
    case Op::linear_lora:
    case Op::linear_gated:
    case Op::linear_qkv:
    case Op::linear_dx:
    case Op::cross_entropy:
    case Op::moe_route:
    case Op::moe_gated:
    case Op::moe_down:
    case Op::moe_down_dw: return 1;
    case Op::cross_entropy_dx:
    case Op::cross_entropy_dw:
    case Op::moe_gated_dx:
    case Op::moe_gated_dw:
    case Op::moe_down_dx: return 2;
    default: return 0;
  }
}

}  // namespace

StepCost node_cost(const Graph& g, const Node& node, Sizes sizes, AttendedContext context) {
  StepCost c;
  if (info(node.op).level == OpLevel::source) return c;
  double outputs = 0;
  for (ValueId id : node.out) {
    if (g.type(id).elem.kind == Elem::state) continue;
    outputs += double(elements(g.type(id), sizes));
    c.row_bytes += double(bytes(g.type(id), sizes));
  }
  for (ValueId id : node.in) {
    const Type& t = g.type(id);
    const bool weight = g.producer(id).op == Op::weight;
    if (!weight) {
      c.row_bytes += double(bytes(t, sizes));
    } else if (node.op == Op::embed || node.op == Op::gather) {
      c.weight_bytes += double(info(t.elem.format).row_bytes(uint64_t(t.dims[1].n))) *
                        double(value(g.type(node.in[0]).dims[0], sizes));
    } else if (t.dims.size() == 3) {
      // Experts: a row multiplies with k of them; a step reads those that any row chose, at most as many as choices.
      const double choices = double(node.integer("k")) * double(value(g.type(node.in[0]).dims[0], sizes));
      c.flops += 2.0 * products(node.op) * double(t.dims[1].n) * double(t.dims[2].n) * choices;
      c.weight_bytes += double(bytes(t, sizes)) * std::min(1.0, choices / double(t.dims[0].n));
    } else {
      c.weight_bytes += double(bytes(t, sizes));
      if (t.dims.size() == 2)
        c.flops += 2.0 * products(node.op) * double(t.dims[0].n) * double(t.dims[1].n) *
                   double(value(g.type(node.in[0]).dims[0], sizes));
    }
  }
  if (node.op == Op::matmul) c.flops += 2.0 * outputs * double(value(g.type(node.in[0]).dims[1], sizes));
  if (node.op == Op::linear_dw) c.flops += 2.0 * outputs * double(value(g.type(node.in[0]).dims[0], sizes));
  if (node.op == Op::attention || node.op == Op::self_attention || node.op == Op::self_attention_dx) {
    const double heads = double(node.integer("heads")), kv_heads = double(node.integer("kv_heads")),
                 d = double(node.integer("head_dim"));
    const double window = double(node.integer("window")), rows = double(value(g.type(node.in[0]).dims[0], sizes));
    const double keys = window > 0 ? std::min(window, double(context.keys)) : double(context.keys);
    c.flops += (node.op == Op::self_attention_dx ? 10.0 : 4.0) * rows * heads * keys * d;
    const KvLayout layout{context.format, uint32_t(kv_heads), uint32_t(d)};
    if (node.op == Op::attention) c.kv_bytes += rows * keys * double(layout.layer_bytes()) / kPageTokens;
  } else if (node.op == Op::lora_down || node.op == Op::lora_up || node.op == Op::linear_lora) {
    // As if every row had an adapter, all the same one of the largest rank.
    const Type& rows = g.type(node.in[0]);
    const double rank = double(node.op == Op::lora_down ? node.integer("rank") : g.type(node.in.back()).dims[1].n),
                 width = double((node.op == Op::linear_lora ? g.type(node.out[0]) : rows).dims[1].n);
    c.flops += 2.0 * double(value(rows.dims[0], sizes)) * rank * width;
    c.weight_bytes += 4.0 * rank * width;
  } else if (c.flops == 0) {
    c.flops = outputs;
  }
  return c;
}

StepCost step_cost(const Graph& graph, Sizes sizes, AttendedContext context) {
  StepCost sum;
  for (const Node& node : graph.nodes) {
    const StepCost c = node_cost(graph, node, sizes, context);
    sum.flops += c.flops;
    sum.weight_bytes += c.weight_bytes;
    sum.kv_bytes += c.kv_bytes;
    sum.row_bytes += c.row_bytes;
  }
  return sum;
}

double TrainedRows::rows() const {
  double sum = 0;
  for (const Documents& d : documents) sum += d.count * d.length;
  return sum;
}

double TrainedRows::pairs(double window) const {
  double sum = 0;
  for (const Documents& d : documents) {
    const double full = window > 0 ? std::min(window, d.length) : d.length;  // rows that see all before them
    sum += d.count * (full * (full + 1) / 2 + (d.length - full) * full);
  }
  return sum;
}

std::optional<uint32_t> loss_of(const Graph& g, const Node& node) {
  if ((node.op != Op::cross_entropy_dx && node.op != Op::cross_entropy_dw) || g.producer(node.in[5]).op != Op::constant)
    return {};
  const Node& loss = g.producer(node.in[4]);
  const bool same = loss.op == Op::cross_entropy && std::equal(node.in.begin(), node.in.begin() + 4, loss.in.begin()) &&
                    std::equal(node.in.begin() + 6, node.in.end(), loss.in.begin() + 4, loss.in.end());
  if (!same) return {};
  return uint32_t(&loss - g.nodes.data());
}

StepCost train_node_cost(const Graph& g, const Node& node, const TrainedRows& step) {
  const double rows = step.rows();
  StepCost c = node_cost(g, node, {std::llround(rows), 0}, {});
  switch (node.op) {
    case Op::self_attention:
    case Op::self_attention_dx:
      // Scores and values; their four gradients, and the scores once more.
      c.flops = (node.op == Op::self_attention ? 4.0 : 10.0) * double(node.integer("heads")) *
                double(node.integer("head_dim")) * step.pairs(double(node.integer("window")));
      break;
    case Op::cross_entropy_dx:
    case Op::cross_entropy_dw:
      if (loss_of(g, node)) c.flops /= 2;
      [[fallthrough]];
    case Op::cross_entropy: c.flops *= step.targets / std::max(rows, 1.0); break;
    default: break;
  }
  return c;
}

}  // namespace vibee
