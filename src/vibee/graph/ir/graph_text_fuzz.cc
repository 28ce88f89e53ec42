// SPDX-License-Identifier: Apache-2.0
// Any bytes as a graph's text: what parses prints, reads back the same, loses its dead nodes and decomposes; what does
// not is refused in one line with its place.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "vibee/graph/ir/decompose.h"
#include "vibee/graph/ir/tensor_value.h"

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace vibee;
  const auto graph = parse_graph({reinterpret_cast<const char*>(data), size});
  if (!graph.ok()) {
    require(graph.status().message().find("graph text, line ") == 0);
    require(graph.status().message().find('\n') == std::string::npos);
    return 0;
  }
  const std::string text = print(*graph);
  const auto again = parse_graph(text);
  require(again.ok() && print(*again) == text);
  require(verify(drop_dead(*graph)).ok());
  for (const Value& value : graph->values)
    if (value.type.elem.kind != Elem::state) (void)bytes(value.type, {1 << 10, 4});
  int64_t heads = 0;
  for (const Node& node : graph->nodes)  // rotations grow by their heads
    if (node.op == Op::rope) heads += graph->type(node.in[0]).dims[1].n / node.integer("head_dim");
  if (heads < 4096) (void)decompose(*graph).nodes.size();
  return 0;
}
