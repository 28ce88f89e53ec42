// SPDX-License-Identifier: Apache-2.0
#include "vibee/graph/pass/activation_compression.h"

#include <algorithm>
#include <optional>

namespace vibee {
namespace {

bool is_loss(Op op) { return op == Op::cross_entropy || op == Op::cross_entropy_dx || op == Op::cross_entropy_dw; }

/// Which values are read by the backward part, and may be others there.
std::vector<bool> may_differ(const Graph& g) {
  std::vector<bool> may(g.values.size());
  for (const Node& node : g.nodes)
    for (const ValueId id : node.in) may[id] = may[id] || node.has("phase");
  for (const Node& node : g.nodes)
    for (size_t i = 0; i < node.in.size(); ++i)
      if (is_loss(node.op) ||
          ((node.op == Op::moe_route || node.op == Op::moe_route_dx) && g.producer(node.in[i]).op == Op::linear))
        may[node.in[i]] = false;
  for (ValueId id = 0; id < g.values.size(); ++id) {
    const Node& from = g.producer(id);
    const Type& type = g.type(id);
    const bool rows =
        type.elem.is_float() && type.dims.size() == 2 && type.dims[0].symbol == 'T' && !type.dims[1].symbol;
    const bool sums = from.op == Op::self_attention && id != from.out[0];
    if (!rows || sums || from.has("phase") || info(from.op).level == OpLevel::source || from.op == Op::moe_route ||
        from.op == Op::rope_table)
      may[id] = false;
  }
  return may;
}

std::string place_of(const Graph& g, ValueId id) {
  const uint32_t at = g.values[id].producer;
  for (uint32_t n = at + 1; n-- > 0;)
    for (const ValueId in : g.nodes[n].in)
      if (g.producer(in).op == Op::weight)
        return fmt::format("{}{}, {}", n == at ? "" : "behind ", g.producer(in).text("name"),
                           info(g.nodes[at].op).name);
  return std::string(info(g.nodes[at].op).name);
}

class Compression {
 public:
  Compression(const Graph& from, const SavedBits& bits)
      : from_(from),
        bits_(from.values.size()),
        now_(from.values.size()),
        packed_(from.values.size()),
        later_(from.values.size()) {
    out_.name = from.name;
    const std::vector<SavedValue> saved = saved_values(from);
    for (size_t i = 0; i < saved.size(); ++i) bits_[saved[i].id] = bits.of(i);
  }

  Graph run() {
    int64_t array = 0;
    for (const Node& node : from_.nodes) {
      const bool backward = node.has("phase");
      // Floats are what compressed rows give back.
      if (backward && node.op == Op::cast && packed_[node.in[0]]) {
        now_[node.out[0]] = later(node.in[0]);
        continue;
      }
      Node copy{node.op, {}, {}, node.attrs};
      for (const ValueId id : node.in) copy.in.push_back(backward ? later(id) : now_[id]);
      for (const ValueId id : node.out) {
        now_[id] = ValueId(out_.values.size());
        copy.out.push_back(now_[id]);
        out_.values.push_back({from_.type(id), uint32_t(out_.nodes.size())});
      }
      out_.nodes.push_back(std::move(copy));
      for (const ValueId id : node.out)
        if (bits_[id] > 0)
          packed_[id] = out_.add(Op::compress, {now_[id]}, {{"bits", int64_t(bits_[id])}, {"array", array++}});
    }
    VIBEE_CHECK(out_.status().ok(), "{}", out_.status().message());
    for (const ValueId id : from_.outputs) out_.outputs.push_back(now_[id]);
    return std::move(out_);
  }

 private:
  /// The value as the backward part reads it.
  ValueId later(ValueId id) {
    if (!packed_[id]) return now_[id];
    if (!later_[id]) later_[id] = out_.add(Op::decompress, {*packed_[id]}, {{"phase", std::string("R")}});
    return *later_[id];
  }

  const Graph& from_;
  Graph out_;
  std::vector<uint8_t> bits_;
  std::vector<ValueId> now_;
  std::vector<std::optional<ValueId>> packed_, later_;
};

}  // namespace

std::vector<SavedValue> saved_values(const Graph& joint) {
  std::vector<SavedValue> saved;
  const std::vector<bool> may = may_differ(joint);
  for (ValueId id = 0; id < joint.values.size(); ++id)
    if (may[id]) saved.push_back({id, place_of(joint, id), uint64_t(joint.type(id).dims[1].n)});
  return saved;
}

Graph compress_activations(const Graph& joint, const SavedBits& bits) {
  return bits.none() ? joint : Compression(joint, bits).run();
}

}  // namespace vibee
