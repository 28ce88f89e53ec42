// SPDX-License-Identifier: Apache-2.0
#include "vibee/model/adapter/merge_adapter.h"

#include <algorithm>
#include <cmath>

#include "vibee/base/text/quote.h"

namespace vibee {
namespace {

/// rows += scale * B A, for rows of the tensor from `first` on.
void add(const AdapterMatrix& m, float scale, uint64_t first, std::span<float> rows) {
  std::vector<float> sum(m.k);
  for (uint64_t r = 0; r < rows.size() / m.k; ++r) {
    std::fill(sum.begin(), sum.end(), 0.0f);
    for (uint32_t j = 0; j < m.rank; ++j) {
      const float b = m.b[(first + r) * m.rank + j];
      const float* a = m.a.data() + uint64_t(j) * m.k;
      for (uint32_t i = 0; i < m.k; ++i) sum[i] = std::fma(b, a[i], sum[i]);
    }
    float* const out = rows.data() + r * m.k;
    for (uint32_t i = 0; i < m.k; ++i) out[i] = std::fma(scale, sum[i], out[i]);
  }
}

}  // namespace

RecastEdit merging(std::span<const ScaledAdapter> adapters) {
  RecastEdit edit;
  edit.touches = [adapters](const std::string& tensor) {
    return std::any_of(adapters.begin(), adapters.end(),
                       [&](const ScaledAdapter& a) { return a.file.matrices.contains(tensor); });
  };
  edit.apply = [adapters](const std::string& tensor, uint64_t first, std::span<float> rows) -> Status {
    for (const ScaledAdapter& a : adapters) {
      const auto m = a.file.matrices.find(tensor);
      if (m == a.file.matrices.end()) continue;
      add(m->second, a.by * m->second.scale, first, rows);
      if (!std::all_of(rows.begin(), rows.end(), [](float v) { return std::isfinite(v); }))
        return error(Code::invalid, "{}: times {} it makes no finite numbers of tensor {}", quote(a.file.path, 400),
                     a.by, quote(tensor));
    }
    return {};
  };
  return edit;
}

}  // namespace vibee
