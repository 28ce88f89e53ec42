// SPDX-License-Identifier: Apache-2.0
// Where numbers of a step stop being finite: what a run says when its loss is NaN.
#include <algorithm>
#include <cmath>

#include "vibee/graph/exec/train_plan.h"

namespace vibee {
namespace {

std::optional<size_t> bad_element(std::span<const float> values) {
  const auto at = std::find_if(values.begin(), values.end(), [](float v) { return !std::isfinite(v); });
  return at == values.end() ? std::optional<size_t>() : size_t(at - values.begin());
}

}  // namespace

/// The op and the weight that it reads; one that reads none is behind the nearest one that does.
std::string TrainPlan::place_of(size_t node) const {
  const Node& at = graph_.nodes[node];
  const std::string_view phase = at.text("phase");
  const char* pass = phase.empty() ? "forward" : "backward";
  std::string place = fmt::format("{} of the {} pass", info(at.op).name, pass);
  for (size_t n = node + 1; n-- > 0;)
    for (const ValueId id : graph_.nodes[n].in)
      if (graph_.producer(id).op == Op::weight) {
        return fmt::format("{}{}, {}", n == node ? "" : "behind ", graph_.producer(id).text("name"), place);
      }
  return place;
}

Result<std::optional<std::string>> TrainPlan::first_not_finite(Team& team, const TrainInputs& inputs) {
  VIBEE_TRY(bind(inputs, &rows_));
  const auto values = [&](ValueId id) {
    const bool here = graph_.type(id).elem.is_f32() && floats_[id] != nullptr;
    return here ? std::span<const float>(floats_[id], size_t(elements(graph_.type(id), {int64_t(rows_), 0})))
                : std::span<const float>();
  };
  for (const Node& node : graph_.nodes) {
    if (node.op != Op::weight && node.op != Op::input) continue;
    if (const auto at = bad_element(values(node.out[0])))
      return std::optional(fmt::format("{} '{}', element {}: {}", node.op == Op::weight ? "weight" : "input",
                                       node.text("name"), *at, values(node.out[0])[*at]));
  }
  std::optional<std::string> found;
  VIBEE_TRY(run(team, inputs, graph_.nodes.size(), false, [&](size_t n, uint32_t tid) {
    for (const ValueId id : graph_.nodes[n].out) {
      if (tid != 0 || found) break;
      const auto at = bad_element(values(id));
      if (!at) continue;
      const auto width = size_t(std::max<int64_t>(1, graph_.type(id).dims.back().n));
      found = fmt::format("{}: row {}, column {} is {}", place_of(n), *at / width, *at % width, values(id)[*at]);
    }
    team.barrier();  // the next node may write where nobody reads any more
  }));
  return found;
}

}  // namespace vibee
