// SPDX-License-Identifier: Apache-2.0
// What a decoder-only transformer of the Llama family is made of. An architecture fills this from a file's metadata;
// the layers build the graph from it alone.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "vibee/formats/packed/format.h"

namespace vibee {

/// One kind of layer (a model may alternate local and global ones).
struct LayerKind {
  double rope_base = 10000;
  double rope_factor = 1;  ///< positions are divided by it (linear scaling)
  uint32_t window = 0;     ///< keys visible to a query; 0 = all before it
};

struct ModelConfig {
  std::string architecture, name;
  uint32_t vocab = 0, dim = 0, layers = 0, heads = 0, kv_heads = 0, head_dim = 0, ff = 0;
  uint32_t context = 0;  ///< positions that the model was trained for
  uint32_t rope_dims = 0;
  bool split_halves = false;  ///< rotary pairs are (i, i + dims/2); else (2i, 2i + 1)
  bool gelu = false;          ///< gate of the feed-forward: GELU (tanh form); else SiLU
  bool qk_norm = false, post_norms = false;
  float eps = 1e-5f, embed_scale = 1, attention_scale = 0, attention_cap = 0, logit_cap = 0;
  std::vector<LayerKind> kinds;     ///< at least one
  std::vector<uint8_t> layer_kind;  ///< one a layer: index into kinds
  bool tied = false;                ///< the head is the embedding
};

/// Stored format of a tensor by name; the graph's weight types come from it.
using FormatOf = std::function<Format(std::string_view)>;

}  // namespace vibee
