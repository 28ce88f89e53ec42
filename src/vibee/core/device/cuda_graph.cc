// SPDX-License-Identifier: Apache-2.0
#include "vibee/core/device/cuda_graph.h"

namespace vibee {
namespace {

struct Recorded {
  CudaOwned<CUgraph_st, &CudaDriver::graph_destroy> graph;
  size_t nodes = 0;
};

Result<Recorded> record_graph(CudaStream& stream, const std::function<Status()>& record) {
  CudaDevice& d = *stream.device();
  Recorded out{CudaOwned<CUgraph_st, &CudaDriver::graph_destroy>(stream.device())};
  VIBEE_TRY(d.call(d.driver().capture_begin, "", stream.get(), CudaCaptureMode::this_thread));
  Status recorded = record();
  // Ends on an error, too: a stream that records takes no other work.
  Status ended = d.call(d.driver().capture_end, "", stream.get(), out.graph.out());
  VIBEE_TRY(recorded);
  VIBEE_TRY(ended);
  VIBEE_TRY(d.call(d.driver().graph_nodes, "", out.graph.get(), nullptr, &out.nodes));
  return out;
}

using Executable = CudaOwned<CUgraphExec_st, &CudaDriver::graph_exec_destroy>;

Result<Executable> instantiate(const std::shared_ptr<CudaDevice>& device, const Recorded& recorded) {
  Executable out(device);
  VIBEE_TRY(device->call(
      device->driver().graph_instantiate, [&] { return fmt::format("{} nodes", recorded.nodes); }, out.out(),
      recorded.graph.get(), 0ull));
  return out;
}

}  // namespace

Result<CudaGraph> CudaGraph::capture(CudaStream& stream, const std::function<Status()>& record) {
  CudaGraph out;
  VIBEE_ASSIGN(const Recorded recorded, record_graph(stream, record));
  VIBEE_ASSIGN(out.graph_, instantiate(stream.device(), recorded));
  out.nodes_ = recorded.nodes;
  return out;
}

Status CudaGraph::update(CudaStream& stream, const std::function<Status()>& record) {
  CudaDevice& d = *stream.device();
  VIBEE_ASSIGN(const Recorded recorded, record_graph(stream, record));
  if (recorded.nodes == nodes_) {
    CudaGraphUpdate answer;
    VIBEE_ASSIGN(const bool updated, d.accepts(CudaResult::graph_update_failed, d.driver().graph_update, graph_.get(),
                                               recorded.graph.get(), &answer));
    if (updated) return {};
  }
  VIBEE_ASSIGN(graph_, instantiate(stream.device(), recorded));
  nodes_ = recorded.nodes, ++rebuilds_;
  return {};
}

Status CudaGraph::launch(const CudaStream& stream) {
  CudaDevice& d = *graph_.device();
  return d.call(
      d.driver().graph_launch, [&] { return fmt::format("{} nodes", nodes_); }, graph_.get(), stream.get());
}

}  // namespace vibee
