// SPDX-License-Identifier: Apache-2.0
// Rates of a machine on which every unit of work takes the same time: prices are counts.
#pragma once

#include "vibee/plan/train/measure_rates.h"

namespace vibee {

inline MachineRates flat_rates(double seconds) {
  MachineRates rates;
  rates.cpu = "a flat machine";
  rates.isa = "scalar";
  rates.version = rates.date = "never";
  rates.threads = 2;
  rates.fma_flops = 2 / seconds;
  rates.barrier = 1e-30;
  rates.cache = rates.own_cache = 1e15;
  rates.read_rate = rates.cache_rate = 1e18;
  for (const std::string_view kind : needed_rates()) {
    RateGrid& grid = rates.grids[std::string(kind)];
    grid.axes.assign(axes_of(kind), {1.0});
    grid.rates = {seconds};
  }
  return rates;
}

}  // namespace vibee
