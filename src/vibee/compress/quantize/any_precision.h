// SPDX-License-Identifier: Apache-2.0
// v1772 any_precision: one stored model that serves every width from `seed` to `parent` bits (Park et al.,
// "Any-Precision LLM", ICML 2024): the code of b bits is the top b bits of the parent's, and each width has values of
// its own.
//
// Tables: a row's numbers are put into the 2^seed clusters of least weighted error (exactly, line_means.h; weights are
// squared gradients, SqueezeLLM), and each cluster is cut in two, where that is best, level by level (incremental
// upscaling, section 3.2). The values of a width are the means of its clusters as halves; a cluster that cannot be cut
// leaves its value to both. Every half is the nearest one to its mean, so no width has a larger error than a narrower
// one.
//
// Affine: a group's range in 2^parent equal cells, and a code of b bits stands for the middle of the 2^(parent - b)
// cells that begin with it. No tables, which cost a short row more than its codes.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace vibee {

inline constexpr uint32_t kLeastPlanes = 3, kMostPlanes = 8;

struct NestedWidths {
  uint32_t seed = 3, parent = 8;
  bool holds(uint32_t bits) const { return bits >= seed && bits <= parent; }
};

/// Values of a row by width: values[b - seed] has 2^b halves.
using NestedTables = std::vector<std::vector<uint16_t>>;

/// The parent's codes of a row of n numbers, and the values of all widths. `weights` is null for a row whose numbers
/// count alike.
void nest_row(const float* x, uint64_t n, const float* weights, NestedWidths widths, uint8_t* codes,
              NestedTables* tables);

/// A group's range.
struct NestedRange {
  float low = 0, cell = 0;  ///< of the parent's 2^parent cells
  /// Value of a code c of b bits: scale(b) * c + offset(b), the first exact, the second rounded once.
  float scale(uint32_t parent, uint32_t bits) const { return cell * float(1u << (parent - bits)); }
  float offset(uint32_t parent, uint32_t bits) const { return low + scale(parent, bits) / 2; }
};
/// The parent's codes of a group of n numbers. What is not finite counts as zero.
NestedRange nest_group(const float* x, uint32_t n, uint32_t parent, uint8_t* codes);

}  // namespace vibee
