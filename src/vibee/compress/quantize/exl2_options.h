// SPDX-License-Identifier: Apache-2.0
// How a matrix may be quantised in EXL2 (ExLlamaV2, conversion/qparams.py): shares of its inputs, the most important
// first, at a width and in groups of a length each; and what that takes.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "vibee/base/status/status.h"

namespace vibee {

struct Exl2Part {
  uint32_t bits;   ///< 2 to 6, or 8; they descend
  double share;    ///< of the inputs; the last part takes what is left
  uint32_t group;  ///< inputs a group, a multiple of 32
};

struct Exl2Option {
  std::vector<Exl2Part> parts;
  /// "0.1:4b_128g/0.9:3b_128g s4", as ExLlamaV2 writes it.
  std::string name() const;
};

/// Rows of exl2_options.inc, the smallest first.
std::span<const Exl2Option> exl2_options();
Result<const Exl2Option*> find_exl2_option(std::string_view name);
/// Of a head at about so many bits: 2, 3, 4, 5, 6 or 8.
Result<Exl2Option> exl2_head(uint32_t bits);

/// Sorted inputs [first, end) at a width, whose codes begin in packed row `row`, 32 / bits inputs a row.
struct Exl2Group {
  uint32_t bits, first, end, row;
  bool operator==(const Exl2Group&) const = default;
};
/// The groups of k inputs, a multiple of 32; the last may be shorter than the others.
std::vector<Exl2Group> exl2_groups(const Exl2Option& option, uint32_t k);

/// Outputs are padded to a multiple of this.
inline constexpr uint32_t kExl2Padding = 32;
inline uint32_t exl2_padded(uint32_t n) { return (n + kExl2Padding - 1) / kExl2Padding * kExl2Padding; }
/// Bits of a matrix [n, k] in a file: codes, 16 + 32 and 4 an output a group, 32 an input.
uint64_t exl2_bits(std::span<const Exl2Group> groups, uint32_t n, uint32_t k);

}  // namespace vibee
