// SPDX-License-Identifier: Apache-2.0
// CUDA graphs: work that is recorded once and given to a stream as one piece, which costs a node about a third of a
// launch. What it uses (memory, kernels) has to live as long as the graph.
#pragma once

#include <functional>

#include "vibee/core/device/cuda_stream.h"

namespace vibee {

class CudaGraph {
 public:
  CudaGraph() = default;
  /// Records what `record` gives to `stream`, and to streams that wait for it by events, without running it. Nothing in
  /// `record` may wait for the device or allocate.
  static Result<CudaGraph> capture(CudaStream& stream, const std::function<Status()>& record);
  /// Records anew: other arguments and shapes replace those of the nodes there are; where other nodes come out, the
  /// graph is built again. On an error it stays as it was.
  Status update(CudaStream& stream, const std::function<Status()>& record);
  Status launch(const CudaStream& stream);
  size_t nodes() const { return nodes_; }
  /// How often an update had to build it again.
  uint64_t rebuilds() const { return rebuilds_; }

 private:
  CudaOwned<CUgraphExec_st, &CudaDriver::graph_exec_destroy> graph_;
  size_t nodes_ = 0;
  uint64_t rebuilds_ = 0;
};

}  // namespace vibee
