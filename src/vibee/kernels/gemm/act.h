// SPDX-License-Identifier: Apache-2.0
// Activations quantised for the integer matmul (tree/precision.md S4): per row and 32 elements, q = RNE(x * 127/amax),
// the scale da = amax/127, da*S and -S with S = sum q. Rows are stored in groups so that a micro-kernel addresses every
// row of its tile from one pointer: [rows/G][K/32]{ q[G][32], da[G], das[G], ns[G], ns0[G] }.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace vibee {

/// How rows are quantised for a product (panel.h says which format wants what): each block of 32 by its largest
/// magnitude; `row` by one scale for all of a row; from int4x32 on groups of so many elements by four bits (q = RNE(x *
/// 7 / (0.9 amax)), at most 7 and at least -8); of atom32 and so on the last group by eight. A scale stands in each
/// block that it is of; -S of a group stands in its first block, and the others have none.
enum class ActRule : uint8_t { floats, block, row, int4x32, int4x64, int4x128, atom32, atom64, atom128 };

/// The name of rows that are quantised so.
constexpr std::string_view name(ActRule rule) {
  constexpr std::string_view kNames[] = {"",         "act8",   "row8",   "int4x32", "int4x64",
                                         "int4x128", "atom32", "atom64", "atom128"};
  return kNames[size_t(rule)];
}
/// Elements of a group of a rule that has any, else 0.
constexpr uint32_t act_rule_group(ActRule rule) {
  return rule < ActRule::int4x32 ? 0 : 32u << (uint32_t(rule) - uint32_t(ActRule::int4x32)) % 3;
}
/// Whether the last group has eight bits.
constexpr bool keeps_last(ActRule rule) { return rule >= ActRule::atom32; }

inline constexpr uint32_t kActBlock = 32;
inline constexpr uint32_t kActMaxGroup = 12;
/// The longest row that is summed as integers: 15 * 16 * 127 a term stays in 31 bits.
inline constexpr uint32_t kMaxIntegerRow = 65536;

/// Rows of one group when `rows` rows are multiplied together; results do not depend on it.
constexpr uint32_t act_group(uint32_t rows) { return rows <= 1 ? 1 : rows <= 4 ? 4 : kActMaxGroup; }

/// Byte offsets inside one block record of a group of G rows.
template <uint32_t G>
struct ActRecord {
  static constexpr uint32_t q = 0, da = 32 * G, das = 36 * G, ns = 40 * G, ns0 = 44 * G, bytes = 48 * G;
};
inline constexpr uint32_t kActRecordBytes = 48;  ///< a row's share of a block record

/// Bytes that `rows` quantised rows of `k` elements take (k a multiple of 32).
constexpr uint64_t act_bytes(uint32_t rows, uint32_t k) {
  const uint32_t g = act_group(rows);
  return uint64_t(rows + g - 1) / g * g * (k / kActBlock) * kActRecordBytes;
}

/// Where one row of a quantised matrix lies.
struct ActRow {
  uint8_t* group;     ///< first record of the row's group
  uint32_t g;         ///< rows a group
  uint32_t in_group;  ///< the row's place in it
  uint8_t* record(uint32_t block) const { return group + uint64_t(block) * g * kActRecordBytes; }
  int8_t* q(uint32_t block) const { return reinterpret_cast<int8_t*>(record(block)) + 32 * in_group; }
  float* da(uint32_t block) const { return reinterpret_cast<float*>(record(block) + 32 * g) + in_group; }
  float* das(uint32_t block) const { return reinterpret_cast<float*>(record(block) + 36 * g) + in_group; }
  int32_t* ns(uint32_t block) const { return reinterpret_cast<int32_t*>(record(block) + 40 * g) + in_group; }
  int32_t* ns0(uint32_t block) const { return reinterpret_cast<int32_t*>(record(block) + 44 * g) + in_group; }
};
inline ActRow act_row(uint8_t* base, uint32_t rows, uint32_t k, uint32_t row) {
  const uint32_t g = act_group(rows);
  return {base + uint64_t(row / g) * g * (k / kActBlock) * kActRecordBytes, g, row % g};
}

}  // namespace vibee
