// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/pointwise/scatter_order.h"

#include <algorithm>

namespace vibee {

ScatterOrder scatter_order(std::span<const int32_t> ids, uint32_t count) {
  ScatterOrder order;
  for (uint32_t r = 0; r < ids.size(); ++r)
    if (uint32_t(ids[r]) < count) order.rows.push_back(r);
  std::stable_sort(order.rows.begin(), order.rows.end(), [&](uint32_t a, uint32_t b) { return ids[a] < ids[b]; });
  for (uint32_t i = 0; i < order.rows.size(); ++i) {
    const auto id = uint32_t(ids[order.rows[i]]);
    if (!order.ids.empty() && order.ids.back() == id) continue;
    order.ids.push_back(id);
    order.begins.push_back(i);
  }
  order.begins.push_back(uint32_t(order.rows.size()));
  return order;
}

}  // namespace vibee
