// SPDX-License-Identifier: Apache-2.0
// A matrix as layouts of other projects store it (group_layout.h): a code an element, a scale and perhaps a zero point
// a group of a row. It is made of floats, or of a tensor in one of our formats of groups, from which codes, scales and
// zero points are taken as they are.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "vibee/compress/quantize/gptq.h"

namespace vibee {

/// How matrices are quantised.
struct GroupScheme {
  uint32_t bits = 4;
  uint64_t group = 0;       ///< elements; 0: a row
  bool symmetric = true;    ///< zero points are the middle of the codes
  uint32_t least_zero = 0;  ///< that is chosen; of GPTQ 1 in version 1 of the format, which stores zero points less one
  Format type = Format::f16;         ///< of scales: f16, bf16, f32; of a table, whose scales are f32, that of products
  std::optional<Format> table = {};  ///< codes name values (nf4s64, fp4s64) in the place of integers
  bool operator==(const GroupScheme&) const = default;
};

struct GroupMatrix {
  uint64_t n = 0, k = 0, group = 0;
  std::vector<uint8_t> codes;        ///< [n, k], from zero on
  std::vector<float> scales;         ///< [n, k / group]
  std::vector<uint8_t> zeros;        ///< the same; none of a table
  std::vector<uint32_t> order = {};  ///< column i multiplies input order[i]; empty: input i
};

/// Whether codes of the scheme may stand in a tensor of the format.
bool holds_codes(Format format, const GroupScheme& scheme);
/// Of n rows of k in such a format, whose groups divide the scheme's.
GroupMatrix group_matrix(Format format, std::span<const uint8_t> bytes, uint64_t k, const GroupScheme& scheme);

/// Of rows of k floats, which are finite and used up. The scale of a group is the best of sixteen from 0.7 of what its
/// largest element asks for to the whole of it, by squared errors; codes are the nearest, of `factor` those that make
/// up for the errors before them (gptq.h), with a column's weight 1 / U_jj^2. An error names a row whose scale its type
/// does not hold.
Result<GroupMatrix> group_quantize(std::span<float> rows, uint64_t k, const GroupScheme& scheme,
                                   const GptqFactor* factor, Team& team, Isa isa);

/// What the codes say, [n, k], in the order of the inputs.
std::vector<float> group_values(const GroupMatrix& matrix, const GroupScheme& scheme);

}  // namespace vibee
