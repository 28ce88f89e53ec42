// SPDX-License-Identifier: Apache-2.0
// Which rows are added where (scatter_launch.h): the ids that occur, ascending, and the rows of each, ascending.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace vibee {

struct ScatterOrder {
  std::vector<uint32_t> ids, begins, rows;  ///< begins has one more than ids
};

/// Of row r, ids[r]; rows of ids that are negative or not below `count` go nowhere.
ScatterOrder scatter_order(std::span<const int32_t> ids, uint32_t count);

}  // namespace vibee
