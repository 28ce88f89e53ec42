// SPDX-License-Identifier: Apache-2.0
// How many tokens prompts and answers have: distributions by name, drawn from a seed.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "vibee/base/random/philox.h"
#include "vibee/base/status/status.h"

namespace vibee {

/// "64"; "32-128" uniform, both ends included; "lognormal:MEAN,CV" (CV: standard deviation over mean); or an inverse
/// distribution function through points, "quantiles:0=10,0.5=100,1=4000", linear between them.
struct Lengths {
  bool lognormal = false;
  double mean = 0, cv = 0;
  std::vector<std::pair<double, double>> quantiles = {{0, 128}, {1, 128}};  ///< (share, tokens), both ascending

  /// At least 1; the drawn number is multiplied by `scale` first.
  uint32_t draw(RandomStream& random, double scale = 1) const;
};

Result<Lengths> parse_lengths(std::string_view text);

/// The seed of a part of a workload: the parts (`what`, number `index`) draw independently of one another.
constexpr uint64_t part_seed(uint64_t seed, uint32_t what, uint64_t index) {
  const Philox4 r = philox(seed, Purpose::workload, what, index);
  return r[0] | uint64_t(r[1]) << 32;
}

}  // namespace vibee
