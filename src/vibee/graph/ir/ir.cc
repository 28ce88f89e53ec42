// SPDX-License-Identifier: Apache-2.0
#include "vibee/graph/ir/ir.h"

#include "vibee/kernels/gemm/act.h"
#include "vibee/kernels/pointwise/compress.h"

namespace vibee {
namespace {

constexpr OpInfo kOps[] = {
#define VIBEE_OP(name, level, fewest, most, outputs) {Op::name, #name, OpLevel::level, fewest, most, outputs},
#include "vibee/graph/ir/ops.inc"
#undef VIBEE_OP
};

}  // namespace

const OpInfo& info(Op op) { return kOps[size_t(op)]; }
const OpInfo* find_op(std::string_view name) {
  for (const OpInfo& op : kOps)
    if (op.name == name) return &op;
  return nullptr;
}

int64_t elements(const Type& type, Sizes sizes) {
  int64_t n = 1;
  for (Dim d : type.dims) n *= value(d, sizes);
  return n;
}

uint64_t bytes(const Type& type, Sizes sizes) {
  switch (type.elem.kind) {
    case Elem::state: return 0;
    case Elem::i32: return uint64_t(elements(type, sizes)) * 4;
    case Elem::act8: return act_bytes(uint32_t(value(type.dims[0], sizes)), uint32_t(value(type.dims[1], sizes)));
    case Elem::compressed:
      return uint64_t(value(type.dims[0], sizes)) *
             compressed_bytes(uint64_t(value(type.dims[1], sizes)), type.elem.bits);
    case Elem::stored: {
      const uint64_t k = type.dims.empty() ? 1 : uint64_t(value(type.dims.back(), sizes));
      return k == 0 ? 0 : uint64_t(elements(type, sizes)) / k * info(type.elem.format).row_bytes(k);
    }
  }
  return 0;
}

std::optional<Elem> find_quantized(std::string_view text) {
  for (auto rule = uint8_t(ActRule::block); rule <= uint8_t(ActRule::atom128); ++rule)
    if (name(ActRule(rule)) == text) return Elem{Elem::act8, Format::f32, 0, ActRule(rule)};
  return std::nullopt;
}

std::string to_string(const Type& type) {
  std::string s = type.elem.kind == Elem::i32          ? "i32"
                  : type.elem.kind == Elem::act8       ? std::string(name(type.elem.rule))
                  : type.elem.kind == Elem::state      ? "state"
                  : type.elem.kind == Elem::compressed ? fmt::format("bits{}", type.elem.bits)
                                                       : std::string(info(type.elem.format).name);
  if (type.elem.kind == Elem::state) return s;
  s += '[';
  for (size_t i = 0; i < type.dims.size(); ++i) {
    if (i) s += ',';
    const Dim d = type.dims[i];
    if (d.symbol == 0) {
      s += std::to_string(d.n);
    } else {
      s += d.symbol;
      if (d.n != 1) s += "*" + std::to_string(d.n);
    }
  }
  return s + ']';
}

const Attr* Node::find(std::string_view key) const {
  for (const auto& [name, value] : attrs)
    if (name == key) return &value;
  return nullptr;
}
int64_t Node::integer(std::string_view key, int64_t otherwise) const {
  const Attr* a = find(key);
  return a && std::holds_alternative<int64_t>(*a) ? std::get<int64_t>(*a) : otherwise;
}
double Node::number(std::string_view key, double otherwise) const {
  const Attr* a = find(key);
  if (a == nullptr) return otherwise;
  if (std::holds_alternative<double>(*a)) return std::get<double>(*a);
  return std::holds_alternative<int64_t>(*a) ? double(std::get<int64_t>(*a)) : otherwise;
}
std::string_view Node::text(std::string_view key) const {
  const Attr* a = find(key);
  return a && std::holds_alternative<std::string>(*a) ? std::string_view(std::get<std::string>(*a))
                                                      : std::string_view();
}

ValueId Graph::source(Op op, Type type, Attrs attrs) {
  const auto id = ValueId(values.size());
  values.push_back({std::move(type), uint32_t(nodes.size())});
  nodes.push_back({op, {}, {id}, std::move(attrs)});
  return id;
}

ValueId Graph::add(Op op, std::vector<ValueId> in, Attrs attrs) {
  if (!status_.ok()) return 0;
  Node node{op, std::move(in), {}, std::move(attrs)};
  for (ValueId id : node.in) {
    if (id < values.size()) continue;
    status_ = error(Code::invalid, "node {} ({}): no value %{}", nodes.size(), info(op).name, id);
    return 0;
  }
  auto types = infer(*this, node);
  if (!types.ok()) {
    status_ = types.take_status().within(fmt::format("node {}", nodes.size()));
    return 0;
  }
  const auto first = ValueId(values.size());
  for (Type& type : *types) {
    node.out.push_back(ValueId(values.size()));
    values.push_back({std::move(type), uint32_t(nodes.size())});
  }
  nodes.push_back(std::move(node));
  return first;
}

std::vector<uint32_t> Graph::uses() const {
  std::vector<uint32_t> n(values.size());
  for (const Node& node : nodes)
    for (ValueId id : node.in) ++n[id];
  for (ValueId id : outputs) ++n[id];
  return n;
}

Graph drop_dead(const Graph& graph) {
  std::vector<bool> live(graph.values.size());
  for (ValueId id : graph.outputs) live[id] = true;
  for (size_t i = graph.nodes.size(); i-- > 0;) {
    const Node& node = graph.nodes[i];
    bool needed = false;
    for (ValueId id : node.out) needed |= live[id];
    if (!needed) continue;
    for (ValueId id : node.in) live[id] = true;
    for (ValueId id : node.out) live[id] = true;
  }
  Graph out;
  out.name = graph.name;
  std::vector<ValueId> renamed(graph.values.size());
  for (const Node& node : graph.nodes) {
    if (node.out.empty() || !live[node.out[0]]) continue;
    Node copy = node;
    for (ValueId& id : copy.in) id = renamed[id];
    for (ValueId& id : copy.out) {
      renamed[id] = ValueId(out.values.size());
      out.values.push_back({graph.type(id), uint32_t(out.nodes.size())});
      id = renamed[id];
    }
    out.nodes.push_back(std::move(copy));
  }
  for (ValueId id : graph.outputs) out.outputs.push_back(renamed[id]);
  return out;
}

}  // namespace vibee
