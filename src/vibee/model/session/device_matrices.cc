// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/session/device_matrices.h"

#include <algorithm>

#include "vibee/model/layer/decoder.h"
#include "vibee/model/session/graph_weights.h"

namespace vibee {

DeviceMatrices::~DeviceMatrices() {
  // Copies of a load that failed are still on their way.
  if (runtime_) (void)runtime_->stream.synchronize();
}

uint64_t DeviceMatrices::bytes(std::span<const Wanted> wanted) {
  uint64_t sum = 0;
  for (const Wanted& w : wanted) sum += DevicePool::taken(w.matrix.bytes());
  return sum;
}

Result<std::unique_ptr<DeviceMatrices>> DeviceMatrices::load(const Checkpoint& file, std::vector<Wanted> wanted,
                                                             std::shared_ptr<DeviceRuntime> runtime) {
  constexpr uint64_t kRunBytes = uint64_t(4) << 20;
  auto out = std::make_unique<DeviceMatrices>();
  out->runtime_ = std::move(runtime);
  DeviceRuntime& r = *out->runtime_;
  VIBEE_ASSIGN(out->pool_, DevicePool::create(r.device, bytes(wanted)));
  CudaAddress at = out->pool_->address();
  std::vector<uint8_t> rows, packed;
  for (Wanted& w : wanted) {
    DeviceMatrix& m = w.matrix;
    m.data = at;
    const WeightPart part = weight_part(w.name);
    VIBEE_ASSIGN(const TensorInfo* const tensor, file.tensor(part.tensor));
    const uint64_t row_bytes = m.row_bytes();
    const auto step =
        uint32_t(std::max<uint64_t>(kDevicePanelRows, kRunBytes / row_bytes / kDevicePanelRows * kDevicePanelRows));
    CudaAddress to = at;
    for (uint32_t e = 0; e < m.experts; ++e)
      for (uint32_t row = 0; row < m.n; row += step) {
        const uint32_t count = std::min(step, m.n - row);
        rows.resize(count * row_bytes);
        VIBEE_TRY(file.read(*tensor, (uint64_t(part.first) + uint64_t(e) * m.n + row) * row_bytes, rows));
        packed.resize(device_row_bytes(m, count));
        pack_device_rows(m, count, rows.data(), packed.data());
        VIBEE_TRY(r.ring.copy_in(r.stream, to, std::as_bytes(std::span(packed))).within(w.name));
        to += packed.size();
      }
    at += DevicePool::taken(m.bytes());
    out->matrices_[std::move(w.name)] = m;
  }
  VIBEE_TRY(r.stream.synchronize());
  return out;
}

std::vector<DeviceMatrices::Wanted> wanted_matrices(const Graph& graph) {
  std::vector<DeviceMatrices::Wanted> out;
  for (const GraphWeight& w : weights_of(graph, Isa::scalar))
    if (w.matrix) out.push_back({w.name, {0, w.shape.format, w.shape.n, w.shape.k, w.shape.experts}});
  return out;
}

const DeviceMatrix* DeviceMatrices::find(std::string_view name) const {
  const auto at = matrices_.find(name);
  return at == matrices_.end() ? nullptr : &at->second;
}

}  // namespace vibee
