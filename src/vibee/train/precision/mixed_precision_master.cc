// SPDX-License-Identifier: Apache-2.0
#include "vibee/train/precision/mixed_precision_master.h"

#include <algorithm>

namespace vibee {
namespace {

/// Whether the op takes that input in any format: it decodes rows, or asks for the shape alone.
bool any_format(Op op, size_t input) {
  switch (op) {
    case Op::embed:
    case Op::linear:
    case Op::linear_dx:
    case Op::cross_entropy:
    case Op::cross_entropy_dx:
    case Op::cross_entropy_dw: return input == 1;
    case Op::scatter: return input == 2;
    default: return false;
  }
}

bool is_router(std::string_view weight) { return weight.find("ffn_gate_inp.") != weight.npos; }

}  // namespace

void store_weights(Graph* graph, std::span<const std::string> names, Format format) {
  std::vector<bool> stays(graph->values.size());
  for (const Node& node : graph->nodes)
    for (size_t i = 0; i < node.in.size(); ++i)
      if (!any_format(node.op, i)) stays[node.in[i]] = true;
  for (const ValueId id : graph->outputs) stays[id] = true;
  for (const Node& node : graph->nodes) {
    if (node.op != Op::weight || stays[node.out[0]] || is_router(node.text("name"))) continue;
    if (std::find(names.begin(), names.end(), node.text("name")) == names.end()) continue;
    Type& type = graph->values[node.out[0]].type;
    if (type.dims.size() == 2) type.elem.format = format;
  }
}

WeightForm weight_form(const Precision& p, Format format) {
  if (format == Format::f16) return p.master == Master::none ? WeightForm::f16 : WeightForm::f16_master;
  if (format != Format::bf16) return WeightForm::f32;
  switch (p.master) {
    case Master::f32: return WeightForm::bf16_master;
    case Master::split: return WeightForm::bf16_split;
    case Master::none: break;
  }
  return bf16_form(p.update);
}

WeightForm first_form(WeightForm form) {
  return form == WeightForm::bf16_sr || form == WeightForm::bf16_kahan ? WeightForm::bf16 : form;
}

}  // namespace vibee
