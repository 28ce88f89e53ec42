// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/attention/self_attention_tiles.h"

#include <algorithm>

namespace vibee {

SelfAttentionTiles self_attention_tiles(std::span<const Document> documents, uint32_t group, uint32_t tile) {
  SelfAttentionTiles tiles;
  for (const Document& d : documents) {
    for (uint32_t first = 0; first < (d.end - d.begin) * group; first += tile)
      tiles.queries.push_back({d.begin, d.end, first});
    for (uint32_t first = 0; first < d.end - d.begin; first += tile) tiles.keys.push_back({d.begin, d.end, first});
  }
  // A query sees what is before it, a key is seen by what is behind it.
  std::stable_sort(tiles.queries.begin(), tiles.queries.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  std::stable_sort(tiles.keys.begin(), tiles.keys.end(),
                   [](const auto& a, const auto& b) { return a.end - a.begin - a.first > b.end - b.begin - b.first; });
  return tiles;
}

}  // namespace vibee
