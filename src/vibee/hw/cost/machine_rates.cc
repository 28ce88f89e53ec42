// SPDX-License-Identifier: Apache-2.0
#include "vibee/hw/cost/machine_rates.h"

#include <algorithm>
#include <cmath>

#include "vibee/base/status/status.h"

namespace vibee {

double RateGrid::at(std::initializer_list<double> sizes) const {
  VIBEE_CHECK(sizes.size() == axes.size(), "{} sizes of a grid of {}", sizes.size(), axes.size());
  // Corners of the cell around the sizes, with their weights.
  std::vector<std::pair<size_t, double>> corners = {{0, 1.0}};
  auto axis = axes.begin();
  for (double size : sizes) {
    size = std::clamp(size, axis->front(), axis->back());
    const auto above = size_t(std::upper_bound(axis->begin(), axis->end(), size) - axis->begin());
    const size_t low = std::min(above, axis->size() - 1) - (axis->size() > 1 ? 1 : 0);
    const size_t high = std::min(low + 1, axis->size() - 1);
    const double span = std::log((*axis)[high] / (*axis)[low]);
    const double along = span > 0 ? std::log(size / (*axis)[low]) / span : 0;
    std::vector<std::pair<size_t, double>> next;
    for (const auto& [at, weight] : corners) {
      if (along < 1) next.emplace_back(at * axis->size() + low, weight * (1 - along));
      if (along > 0) next.emplace_back(at * axis->size() + high, weight * along);
    }
    corners = std::move(next);
    ++axis;
  }
  double sum = 0;
  for (const auto& [at, weight] : corners) sum += weight * std::log(rates[at]);
  return std::exp(sum);
}

double MachineRates::seconds(std::string_view name, std::initializer_list<double> sizes, double units,
                             std::string_view otherwise) const {
  if (units <= 0) return 0;
  const auto found = grids.find(name);
  if (found != grids.end()) return std::max(barrier, units * found->second.at(sizes));
  const auto other = grids.find(otherwise);
  VIBEE_CHECK(other != grids.end() && other->second.axes.size() == 1, "no rate of '{}' or '{}'", name, otherwise);
  return std::max(barrier, units * other->second.at({units}));
}

}  // namespace vibee
