// SPDX-License-Identifier: Apache-2.0
// The work of self_attention_launch.h as flat lists, those that take longest first.
#pragma once

#include <span>
#include <vector>

#include "vibee/kernels/attention/self_attention.h"
#include "vibee/kernels/attention/self_attention_launch.h"

namespace vibee {

struct SelfAttentionTiles {
  std::vector<SelfAttentionTile> queries, keys;
};

/// Tiles of `tile` query vectors of `group` heads a row, and of `tile` keys.
SelfAttentionTiles self_attention_tiles(std::span<const Document> documents, uint32_t group, uint32_t tile);

}  // namespace vibee
