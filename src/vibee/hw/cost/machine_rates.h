// SPDX-License-Identifier: Apache-2.0
// What kinds of work take on a machine, as data: grids of measured times, by name. Prices of work are read off them, so
// a table that was measured once prices any graph, here or elsewhere, and the same table gives the same price.
#pragma once

#include <functional>
#include <initializer_list>
#include <map>
#include <string>
#include <vector>

namespace vibee {

/// Seconds a unit of work over a grid of sizes, e.g. a multiply-add of a product over (rows, columns, depth). Between
/// measured points the logarithm is interpolated along the logarithms of the sizes; outside, the nearest point holds.
struct RateGrid {
  std::vector<std::vector<double>> axes;  ///< sizes, ascending
  std::vector<double> rates;              ///< the last axis varies fastest
  double at(std::initializer_list<double> sizes) const;
};

struct MachineRates {
  std::string cpu, isa, version, date;  ///< date: UTC
  uint32_t threads = 1;
  double fma_flops = 0;   ///< operations a second of all threads at their peak
  double barrier = 0;     ///< seconds of the team's barrier
  double cache = 0;       ///< bytes that caches remember: what was touched longer ago is in memory
  double read_rate = 0;   ///< bytes a second that all threads read from memory
  double own_cache = 0;   ///< bytes that the threads' own caches remember, all together
  double cache_rate = 0;  ///< bytes a second that all threads read from the cache that they share
  std::map<std::string, RateGrid, std::less<>> grids;

  bool has(std::string_view name) const { return grids.find(name) != grids.end(); }
  /// Seconds of `units` of a kind of work; of one that was not measured those of `otherwise`, which was. No work takes
  /// less than a barrier.
  double seconds(std::string_view name, std::initializer_list<double> sizes, double units,
                 std::string_view otherwise = "add") const;
};

}  // namespace vibee
