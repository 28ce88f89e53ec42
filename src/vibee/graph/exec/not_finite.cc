// SPDX-License-Identifier: Apache-2.0
// Where numbers of a step stop being finite: what a run says when its loss is NaN.
#include <algorithm>
#include <cmath>

#include "vibee/graph/exec/train_plan.h"

namespace vibee {
namespace {

struct Found {
  size_t at;
  float value;
};
std::optional<Found> bad_element(std::span<const float> values) {
  const auto at = std::find_if(values.begin(), values.end(), [](float v) { return !std::isfinite(v); });
  if (at == values.end()) return {};
  return Found{size_t(at - values.begin()), *at};
}

}  // namespace

/// The op and the weight that it reads; one that reads none is behind the nearest one that does.
std::string TrainPlan::place_of(size_t node) const {
  const Node& at = graph_.nodes[node];
  const std::string_view phase = at.text("phase");
  const char* pass = phase.empty() ? "forward" : "backward";
  std::string place = fmt::format("{}{}{} of the {} pass", info(at.op).name, at.op == Op::cast ? " to " : "",
                                  at.op == Op::cast ? at.text("to") : "", pass);
  for (size_t n = node + 1; n-- > 0;)
    for (const ValueId id : graph_.nodes[n].in)
      if (graph_.producer(id).op == Op::weight) {
        return fmt::format("{}{}, {}", n == node ? "" : "behind ", graph_.producer(id).text("name"), place);
      }
  return place;
}

Result<std::optional<std::string>> TrainPlan::first_not_finite(Team& team, const TrainInputs& inputs) {
  VIBEE_TRY(bind(inputs, &rows_));
  std::vector<float> widened;  // what lies in 16 bits
  const auto bad = [&](ValueId id) {
    const Type& type = graph_.type(id);
    const auto count = size_t(elements(type, {int64_t(rows_), 0}));
    if (type.elem.is_f32() && floats_[id] != nullptr) return bad_element({floats_[id], count});
    if (!type.elem.is_float() || stored_[id] == nullptr) return std::optional<Found>();
    widened.resize(count);
    const auto k = uint64_t(type.dims.back().n);
    info(type.elem.format).decode_rows(stored_[id], count / k, k, widened.data());
    return bad_element(widened);
  };
  for (const Node& node : graph_.nodes) {
    if (node.op != Op::weight && node.op != Op::input) continue;
    if (const auto it = bad(node.out[0]))
      return std::optional(fmt::format("{} '{}', element {}: {}", node.op == Op::weight ? "weight" : "input",
                                       node.text("name"), it->at, it->value));
  }
  std::optional<std::string> found;
  VIBEE_TRY(run(team, inputs, graph_.nodes.size(), false, [&](size_t n, uint32_t tid) {
    for (const ValueId id : graph_.nodes[n].out) {
      if (tid != 0 || found) break;
      const auto it = bad(id);
      if (!it) continue;
      const auto width = size_t(std::max<int64_t>(1, graph_.type(id).dims.back().n));
      found = fmt::format("{}: row {}, column {} is {}", place_of(n), it->at / width, it->at % width, it->value);
    }
    team.barrier();  // the next node may write where nobody reads any more
  }));
  return found;
}

}  // namespace vibee
