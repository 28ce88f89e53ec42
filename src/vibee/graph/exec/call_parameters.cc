// SPDX-License-Identifier: Apache-2.0
#include "vibee/graph/exec/call_parameters.h"

#include <optional>

#include "vibee/graph/ir/rope_frequencies.h"
#include "vibee/kernels/gemm/panel.h"

namespace vibee {
namespace {

std::optional<RowIds> row_ids_of(std::string_view input) {
  if (input == "tokens") return RowIds::tokens;
  if (input == "positions") return RowIds::positions;
  if (input == "types") return RowIds::types;
  return std::nullopt;
}

}  // namespace

bool quantizes_rows(const Graph& g, const Node& node) {
  const bool product = node.op == Op::linear || node.op == Op::linear_add || node.op == Op::linear_lora ||
                       node.op == Op::linear_gated || node.op == Op::linear_qkv || node.op == Op::moe_route ||
                       is_expert(node.op);
  return product && g.type(node.in[0]).elem.is_f32() &&
         is_integer(g.type(node.in[is_expert(node.op) ? 2 : 1]).elem.format);
}

bool takes_weight(const Graph& g, const Node& node, size_t i) {
  switch (node.op) {
    case Op::embed:
    case Op::rms_norm:
    case Op::quantize:
    case Op::permute_columns:
    case Op::linear:
    case Op::linear_add:
    case Op::linear_lora:
    case Op::moe_route:
    case Op::rope_table: return i == 1;
    case Op::norm_quantize:
    case Op::linear_gated:
    case Op::layer_norm: return i == 1 || i == 2;
    case Op::linear_qkv: return i != 0 && i != 4 && i != 5;
    case Op::moe_gated: return i == 2 || i == 3;
    case Op::moe_down: return i == 2;
    case Op::add: return i == 1 && g.type(node.in[1]).dims.size() == 1;  // a bias
    default: return false;
  }
}

Status check_runnable(const Graph& g, const Node& node) {
  const auto no = [&](std::string_view why) {
    return error(Code::unsupported, "[{}] {}; only the interpreter evaluates this", info(node.op).name, why);
  };
  const bool row_ids = node.op == Op::embed || node.op == Op::rope_table;
  for (size_t i = 0; i < node.in.size(); ++i) {
    const Type& type = g.type(node.in[i]);
    const Node& from = g.producer(node.in[i]);
    if (type.elem.kind == Elem::state) continue;
    if (row_ids && i == 0) {
      const bool known = from.text("name") == "positions" || (node.op == Op::embed && row_ids_of(from.text("name")));
      if (from.op != Op::input || !known) return no("reads the step's tokens, positions or types only");
      continue;
    }
    if (takes_weight(g, node, i)) {
      if (from.op != Op::weight) return no(fmt::format("needs a weight as input {}", i));
      continue;
    }
    if (info(from.op).level == OpLevel::source) return no(fmt::format("needs a computed value as input {}", i));
  }
  for (ValueId id : node.out) {
    const Type& type = g.type(id);
    if (type.elem.kind == Elem::state) continue;
    const bool rows =
        type.dims.size() == 2 && (type.dims[0] == kRows || type.dims[0] == kLogitsRows) && type.dims[1].symbol == 0;
    if (!rows) return no(fmt::format("makes {}, which is not rows of a step", to_string(type)));
    const bool all_rows = node.op == Op::attention || node.op == Op::linear_qkv || node.op == Op::rope || row_ids;
    if (all_rows && type.dims[0] != kRows) return no("works on all rows of a step");
  }
  if (node.op == Op::kv_append && g.type(node.in[1]).dims[0] != kRows) return no("works on all rows of a step");
  if (node.op == Op::add && g.type(node.in[0]) != g.type(node.in[1]) &&
      g.type(node.in[1]) != Type{kF32, {g.type(node.in[0]).dims[1]}})
    return no("adds rows of one shape, or a bias of their width");
  if (node.op == Op::permute_columns && node.integer("inverse") != 0) return no("puts columns in an order, not back");
  if (node.op == Op::moe_gated && act_rule(g.type(node.in[2]).elem.format) != act_rule(g.type(node.in[3]).elem.format))
    return no("needs weights whose rows are quantised alike");
  for (size_t w = 2; w < node.in.size() && w <= 3; ++w) {
    if ((node.op != Op::linear_gated && node.op != Op::linear_qkv) || (node.op == Op::linear_gated && w == 3)) continue;
    if (act_rule(g.type(node.in[w]).elem.format) != act_rule(g.type(node.in[1]).elem.format))
      return no("needs weights whose rows are quantised alike");
  }
  return {};
}

AttentionShape attention_shape(const Node& node) {
  return {uint32_t(node.integer("heads")), uint32_t(node.integer("kv_heads")), uint32_t(node.integer("head_dim")),
          float(node.number("scale", 1)),  float(node.number("soft_cap")),     uint32_t(node.integer("window")),
          node.integer("causal", 1) != 0};
}

Result<CallParameters> call_parameters(const Graph& g, const Node& node, const VectorTable& vectors) {
  CallParameters p;
  p.op = node.op;
  p.in = node.in;
  p.out = node.out;
  p.eps = float(node.number("eps"));
  p.by = float(node.number("by", node.number("cap", node.number("scale", 1))));
  p.layer = uint32_t(node.integer("layer"));
  p.head_dim = uint32_t(node.integer("head_dim"));
  p.quantized_rows = !node.in.empty() && g.type(node.in[0]).elem.kind == Elem::act8;
  p.quantized = node.integer("quantized") != 0;
  if (quantizes_rows(g, node)) p.rule = act_rule(g.type(node.in[is_expert(node.op) ? 2 : 1]).elem.format);
  if (node.op == Op::quantize || node.op == Op::norm_quantize) p.rule = g.type(node.out[0]).elem.rule;
  const std::string_view gate = node.op == Op::activation ? node.text("kind") : node.text("gate");
  p.gate = gate == "gelu_tanh" ? Gate::gelu_tanh : gate == "gelu" ? Gate::gelu : Gate::silu;
  p.target = uint32_t(node.integer("target"));
  p.chosen = uint32_t(node.integer("k"));
  p.normalise = node.integer("normalise") != 0;
  if (node.op == Op::embed) p.ids = *row_ids_of(g.producer(node.in[0]).text("name"));
  p.pooling = find_pooling(node.text("kind")).value_or(Pooling::mean);
  p.split_halves = node.text("pairs") == "split";
  const Type& out = g.type(node.out[0]);
  p.width = out.dims.size() == 2 ? uint32_t(out.dims[1].n) : 0;
  for (ValueId id : node.in) {
    const Node& from = g.producer(id);
    if (from.op != Op::weight) continue;
    if (is_vector(g.type(id)) && (node.op != Op::norm_quantize || p.norm_width == 0))
      p.norm_width = uint32_t(g.type(id).dims[0].n);
    if (p.label.empty()) p.label = from.text("name");
  }
  if (node.op == Op::lora_down || node.op == Op::lora_up || node.op == Op::linear_lora)
    p.norm_width = uint32_t(g.type(node.in[node.op == Op::lora_down ? 0 : node.in.size() - 1]).dims[1].n);
  if (node.op == Op::rope_table) {
    const auto pairs = size_t(node.integer("dims") / 2);
    const float* const given = p.label.empty() ? nullptr : vectors(p.label);
    if (!p.label.empty() && given == nullptr)
      return error(Code::not_found, "the graph needs a tensor '{}' that was not loaded", p.label);
    const std::span<const float> factors(given, given ? pairs : 0);
    for (const float f : factors)  // an infinite angle has no cosine
      if (!(f > 1e-6f && f < 1e6f)) return error(Code::corrupt, "tensor '{}' holds the rotary factor {}", p.label, f);
    p.frequencies = rope_frequencies(node, factors);
  }
  if (node.op == Op::rope || node.op == Op::linear_qkv)
    p.pairs = uint32_t(g.type(node.in[node.op == Op::rope ? 1 : 4]).dims[1].n / 2);
  if (node.op == Op::attention || node.op == Op::linear_qkv) {
    p.shape = attention_shape(node);
    VIBEE_TRY(validate(p.shape));
  }
  return p;
}

}  // namespace vibee
