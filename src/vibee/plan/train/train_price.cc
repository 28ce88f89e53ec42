// SPDX-License-Identifier: Apache-2.0
#include "vibee/plan/train/train_price.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "vibee/graph/exec/train_plan.h"
#include "vibee/graph/pass/gradient_bucket.h"

namespace vibee {

std::string_view name(Reason reason) {
  constexpr std::string_view kNames[kReasons] = {"products", "attention", "loss",      "elementwise",
                                                 "decode",   "sums",      "optimiser", "communication"};
  return kNames[size_t(reason)];
}

TimeStack& TimeStack::operator+=(const TimeStack& other) {
  for (size_t i = 0; i < kReasons; ++i) seconds[i] += other.seconds[i];
  return *this;
}
double TimeStack::sum() const { return std::accumulate(seconds.begin(), seconds.end(), 0.0); }

std::string element_kind(const Node& node) {
  std::string kind(info(node.op).name);
  for (const char* key : {"kind", "gate", "pairs"})
    if (node.has(key)) kind += fmt::format(" {}", node.text(key));
  return kind;
}

double element_units(const Graph& g, const Node& node, double rows) {
  const Sizes sizes{std::llround(rows), 0};
  double most = 0;
  for (const ValueId id : node.out) most = std::max(most, double(elements(g.type(id), sizes)));
  if (node.op == Op::embed) return most;
  for (const ValueId id : node.in) most = std::max(most, double(elements(g.type(id), sizes)));
  return most;
}

TrainPrice::TrainPrice(const Graph& joint, const MachineRates& rates) : g_(joint), rates_(rates) {
  makes_.resize(g_.nodes.size());
  made_by_loss_.resize(g_.nodes.size());
  for (size_t n = 0; n < g_.nodes.size(); ++n) {
    const std::optional<uint32_t> loss = loss_of(g_, g_.nodes[n]);
    if (!loss) continue;
    made_by_loss_[n] = true;
    (g_.nodes[n].op == Op::cross_entropy_dx ? makes_[*loss].dx : makes_[*loss].dw) = true;
  }
}

double TrainPrice::product(std::string_view kind, double m, double n, double k) const {
  return rates_.seconds(kind, {m, n, k}, m * n * k);
}

double TrainPrice::decode(const Type& weight) const {
  if (weight.elem.kind != Elem::stored || weight.elem.is_f32()) return 0;
  const auto count = double(elements(weight, {}));
  return rates_.seconds(fmt::format("decode {}", info(weight.elem.format).name), {count}, count);
}

double TrainPrice::attention(const Node& node, const TrainedRows& part) const {
  const auto heads = double(node.integer("heads")), d = double(node.integer("head_dim")),
             group = heads / double(node.integer("kv_heads"));
  const std::string_view kind = node.op == Op::self_attention ? "attention" : "attention_dx";
  double sum = rates_.barrier;
  for (const TrainedRows::Documents& documents : part.documents) {
    TrainedRows one{{documents}, 0};
    const double units = one.pairs(double(node.integer("window"))) * heads * d;
    if (units > 0) sum += units * rates_.grids.find(kind)->second.at({documents.length, d, group});
  }
  return sum;
}

/// Chunk by chunk as the loss runs (train_loss.cc).
double TrainPrice::loss(const Node& node, const TrainedRows& part, bool dx, bool dw) const {
  const Type& weight = g_.type(node.in[1]);
  const auto n = double(weight.dims[0].n), k = double(weight.dims[1].n);
  const double chunks = std::max(1.0, std::ceil(part.targets / loss_rows(uint32_t(n)))), rows = part.targets / chunks;
  double chunk = 5 * rates_.barrier + product("linear", rows, n, k) + decode(weight);
  if (dx) chunk += product("linear_dx", rows, k, n) + decode(weight);
  if (dw) chunk += product("linear_dw", n, k, rows);
  chunk += rates_.seconds(dx || dw ? "loss_gradients" : "loss", {rows * n}, rows * n);
  return chunks * chunk;
}

TimeStack TrainPrice::node(size_t n, const TrainedRows& part, bool loss_only, double moving) const {
  TimeStack t;
  const Node& node = g_.nodes[n];
  if (info(node.op).level == OpLevel::source) return t;
  const double rows = part.rows();
  const auto dim = [&](ValueId id, size_t i) { return double(value(g_.type(id).dims[i], {std::llround(rows), 0})); };
  switch (node.op) {
    case Op::linear:
    case Op::linear_dx: {
      const Type& weight = g_.type(node.in[1]);
      const bool forward = node.op == Op::linear;
      const auto width = double(weight.dims[forward ? 0 : 1].n), depth = double(weight.dims[forward ? 1 : 0].n);
      t[Reason::products] = product(info(node.op).name, dim(node.out[0], 0), width, depth);
      t[Reason::decode] = decode(weight);
      return t;
    }
    case Op::linear_dw:
      t[Reason::products] = product("linear_dw", dim(node.out[0], 0), dim(node.out[0], 1), dim(node.in[0], 0));
      return t;
    case Op::self_attention:
    case Op::self_attention_dx: t[Reason::attention] = attention(node, part) + moving; return t;
    case Op::cross_entropy:
      t[Reason::loss] = loss(node, part, makes_[n].dx && !loss_only, makes_[n].dw && !loss_only);
      return t;
    case Op::cross_entropy_dx:
    case Op::cross_entropy_dw:
      t[Reason::loss] = made_by_loss_[n]
                            ? rates_.barrier
                            : loss(node, part, node.op == Op::cross_entropy_dx, node.op == Op::cross_entropy_dw);
      return t;
    case Op::moe_route:
    case Op::moe_gated:
    case Op::moe_gated_dx:
    case Op::moe_gated_dw:
    case Op::moe_down:
    case Op::moe_down_dx:
    case Op::moe_down_dw: {
      const double units = train_node_cost(g_, node, part).flops / 2;
      t[Reason::products] = rates_.seconds("experts", {units}, units);
      return t;
    }
    default: break;
  }
  const double units = element_units(g_, node, rows);
  // Rates that were measured before rows were compressed know another op that computes much for each number.
  const bool packs = node.op == Op::compress || node.op == Op::decompress;
  t[Reason::elementwise] =
      rates_.seconds(element_kind(node), {units}, units, packs ? "activation gelu" : "add") + moving;
  return t;
}

template <class F>
void TrainPrice::each_node(size_t nodes, const TrainedRows& part, F&& f) const {
  const Sizes sizes{std::llround(part.rows()), 0};
  const auto size = [&](ValueId id) { return double(bytes(g_.type(id), sizes)); };
  double all = 0;
  for (size_t n = 0; n < nodes; ++n)
    for (const auto* list : {&g_.nodes[n].in, &g_.nodes[n].out})
      for (const ValueId id : *list) all += size(id);
  // A value is as old as the bytes that were read and written since a node began that touched it, because a pass over
  // what is larger than the cache drives out its own beginning; one that was there before the step is of the last.
  std::vector<double> touched(g_.values.size(), -all);
  double now = 0;
  for (size_t n = 0; n < nodes; ++n) {
    const Node& node = g_.nodes[n];
    double moving = 0;
    for (const ValueId id : node.in) {
      if (node.op == Op::embed) continue;
      const double age = now - touched[id];
      if (age >= rates_.own_cache) moving += size(id) / (age >= rates_.cache ? rates_.read_rate : rates_.cache_rate);
    }
    // Places of results were used for others before.
    for (const ValueId id : node.out)
      if (all >= rates_.own_cache) moving += size(id) / rates_.cache_rate;
    for (const auto* list : {&node.in, &node.out})
      for (const ValueId id : *list) touched[id] = now;
    for (const auto* list : {&node.in, &node.out})
      for (const ValueId id : *list) now += size(id);
    f(n, moving);
  }
}

TimeStack TrainPrice::part(const TrainedRows& part, std::vector<double>* ready) const {
  TimeStack sum;
  const auto final = ready != nullptr ? final_outputs(g_) : std::vector<std::vector<uint32_t>>();
  if (ready != nullptr) ready->assign(g_.outputs.size(), 0);
  each_node(g_.nodes.size(), part, [&](size_t n, double moving) {
    sum += node(n, part, false, moving);
    if (ready == nullptr) return;
    for (const uint32_t output : final[n]) (*ready)[output] = sum.sum();
  });
  return sum;
}

TimeStack TrainPrice::loss_only(const TrainedRows& part) const {
  TimeStack sum;
  each_node(size_t(g_.values[g_.outputs[0]].producer) + 1, part,
            [&](size_t n, double moving) { sum += node(n, part, true, moving); });
  return sum;
}

double TrainPrice::flops(const TrainedRows& part) const {
  double sum = 0;
  for (const Node& node : g_.nodes) sum += train_node_cost(g_, node, part).flops;
  return sum;
}

}  // namespace vibee
