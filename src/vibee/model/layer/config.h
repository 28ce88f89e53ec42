// SPDX-License-Identifier: Apache-2.0
// What a transformer of one stack is made of. An architecture fills this from a file's metadata and from which tensors
// the file has; the layers build the graph from it alone.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "vibee/formats/packed/format.h"
#include "vibee/kernels/pointwise/pointwise.h"

namespace vibee {

/// One kind of layer (a model may alternate local and global ones).
struct LayerKind {
  double rope_base = 10000;
  double rope_factor = 1;  ///< positions are divided by it (linear scaling), or YaRN's factor
  uint32_t window = 0;     ///< keys visible to a query; 0 = all before it
};

/// What a step of a model gives.
enum class Output : uint8_t {
  logits,     ///< of the next token, for each row asked for
  hidden,     ///< the last layer's row, for each row asked for
  embedding,  ///< one row a sequence: its rows pooled
  scores,     ///< one row a sequence: the labels of the classifier
};
/// Whether a step gives a row a sequence, which then has to be in the step as a whole.
constexpr bool pools(Output output) { return output == Output::embedding || output == Output::scores; }

struct ModelConfig {
  std::string architecture, name;
  uint32_t vocab = 0, dim = 0, layers = 0, heads = 0, kv_heads = 0, head_dim = 0, ff = 0;
  uint32_t context = 0;  ///< positions that the model can be asked for
  float eps = 1e-5f, embed_scale = 1, attention_scale = 0, attention_cap = 0, logit_cap = 0;
  std::vector<LayerKind> kinds;     ///< at least one
  std::vector<uint8_t> layer_kind;  ///< one a layer: index into kinds

  // Norms: root mean square, or mean and variance with a bias; before a block (attn_norm, ffn_norm), after it
  // (post_attention_norm, post_ffw_norm), or both; or of the sum of block and input (attn_output_norm,
  // layer_output_norm); of the embeddings; of the last layer's rows; of queries and keys, a head at a time or over the
  // whole row.
  bool layer_norm = false, pre_norms = true, post_norms = false, sum_norms = false;
  bool embedding_norm = false, output_norm = true;
  bool qk_norm = false, qk_norm_whole = false;

  // Positions: rotary on the first rope_dims of a head, pairs (i, i + dims/2) where split, else (2i, 2i + 1); or
  // learned.
  bool causal = true;  ///< false: a row sees its whole sequence, which has to be in one step
  bool learned_positions = false, split_halves = false;
  uint32_t rope_dims = 0;
  std::string rope_factors;  ///< tensor of one divisor a pair; empty: none
  double rope_scale = 1;     ///< of cosines and sines (YaRN, LongRoPE)
  uint32_t yarn_context = 0;
  double yarn_fast = 32, yarn_slow = 1;

  // Products: with biases; query, key and value stacked in one tensor; gate and up stacked in ffn_up.
  bool qkv_bias = false, output_bias = false, ffn_bias = false, head_bias = false;
  bool fused_qkv = false, fused_gate_up = false;
  bool tied = false;  ///< the head is the embedding
  /// Products whose weight has its columns in another order than its inputs come in (e.g. "blk.0.attn_q"), and the
  /// tensor that says which (model/weight/quantized.h); those of the same order name the same tensor.
  std::map<std::string, std::string, std::less<>> input_orders;

  Gate activation = Gate::silu;
  bool gated = true;         ///< activation(gate) * up; else activation(up)
  uint32_t token_types = 0;  ///< rows of a table added by the text that a row is of; 0: none
  uint32_t experts = 0, experts_used = 0, expert_ff = 0;
  bool normalise_experts = true;  ///< weights of the chosen experts sum to one

  // What comes out: the model's own output until set_output changes it (arch.h).
  Output output = Output::logits;
  bool generates = true;              ///< has a head over the vocabulary
  uint32_t labels = 0;                ///< of its classifier; 0: none
  std::optional<Pooling> pooling;     ///< as the model's files say
  bool normalise = true;              ///< embeddings have length one
  bool sigmoid = true;                ///< scores are shown through it
  uint32_t text_tokens = UINT32_MAX;  ///< of a text at most, as the model's files say

  /// Whether a sequence has to come in one step: its rows see those behind them, or are pooled.
  bool takes_whole() const { return !causal || pools(output); }
};

/// Stored format of a tensor by name; the graph's weight types come from it.
using FormatOf = std::function<Format(std::string_view)>;

}  // namespace vibee
