// SPDX-License-Identifier: Apache-2.0
// A small decoder without a model file: the graph that the executor's overhead is timed on, and that tests vary at
// random. It has the forms of the Llama and Gemma builders (model/layer), and a few that passes must leave alone.
#pragma once

#include "vibee/base/random/philox.h"
#include "vibee/graph/ir/ir.h"

namespace vibee {

struct SampleDecoder {
  int64_t vocab = 96, dim = 64, layers = 5, heads = 4, kv_heads = 2, head_dim = 16, ff = 128, rope_dims = 16,
          window = 0;
  bool split_halves = false, gelu = false, qk_norm = false, post_norms = false, tied = false;
  double embed_scale = 1, attention_cap = 0, logit_cap = 0;
  Format format = Format::f32;        ///< of the matrices
  Format value_format = Format::f32;  ///< of the value matrices: passes must not mix float and integer formats
  std::string name = "sample";
};

/// Tokens and positions in; logits of the rows asked for and the last state out.
Graph sample_decoder(const SampleDecoder& decoder);

/// Any legal decoder of at most two small layers with matrices in `format`.
SampleDecoder random_decoder(RandomStream& random, Format format);

}  // namespace vibee
