// SPDX-License-Identifier: Apache-2.0
// Any bytes as a graph's text, of whose first float output a loss is made: it is differentiated towards all its
// weights, or refused in one line.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "vibee/graph/autodiff/differentiate.h"

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace vibee;
  auto graph = parse_graph({reinterpret_cast<const char*>(data), size});
  if (!graph.ok()) return 0;
  for (ValueId id : graph->outputs) {
    if (!graph->type(id).elem.is_f32()) continue;
    const ValueId one = graph->source(Op::constant, {kF32, {Dim{1}}}, {{"value", 1.0}});
    graph->outputs = {graph->add(Op::sum_to, {id, one})};
    break;
  }
  const std::vector<std::string> weights = trainable_weights(*graph);
  const auto joint = differentiate(*graph, weights);
  if (joint.ok()) {
    require(joint->outputs.size() == weights.size() + 1);
  } else {
    require(joint.status().message().find('\n') == std::string::npos);
  }
  return 0;
}
