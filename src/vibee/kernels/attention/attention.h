// SPDX-License-Identifier: Apache-2.0
// The attention family. One query row and head: absolute positions are cut into splits of 256 keys; inside a split the
// scores are fma chains over ascending d, the split's maximum is subtracted once, l is 16 lane sums and a fixed tree, o
// an fma chain over ascending keys; splits are folded left to right (tree/serving.md S2). So the bytes of a row do not
// depend on which rows share the load of a tile, where a chunk of the prompt ends, or which thread takes which split.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "vibee/base/simd/isa.h"
#include "vibee/base/status/status.h"
#include "vibee/kernels/attention/batch.h"
#include "vibee/kernels/pointwise/pointwise.h"

namespace vibee {

inline constexpr uint32_t kMaxHeadDim = 256;
inline constexpr uint32_t kMaxQueryTile = 48;

struct AttentionShape {
  uint32_t heads = 0, kv_heads = 0, head_dim = 0;
  float scale = 1;      ///< scores are q.k * scale
  float soft_cap = 0;   ///< > 0: score = cap * tanh(score / cap), before the mask
  uint32_t window = 0;  ///< > 0: key p is visible to query q only while q - p < window
  bool causal = true;   ///< false: every query sees all keys of its sequence, also those behind it
  uint32_t group() const { return heads / kv_heads; }
};
/// Whether two attentions divide a step alike: scale and cap do not matter to that.
inline bool same_division(const AttentionShape& a, const AttentionShape& b) {
  return a.heads == b.heads && a.kv_heads == b.kv_heads && a.head_dim == b.head_dim && a.window == b.window &&
         a.causal == b.causal;
}
/// What a shape must satisfy; the message names the field and the values that are built.
Status validate(const AttentionShape& shape);

/// The queries of one work item: `rows` rows with the same pages, `heads` heads that share one KV head.
struct QueryTile {
  const float* q = nullptr;  ///< first row, [row][heads][head_dim]
  uint32_t stride = 0;       ///< floats from row to row
  uint32_t rows = 0;         ///< rows * heads <= the kernel's tile
  uint32_t first = 0;        ///< last_key of the first row
  uint32_t head = 0, heads = 0;
  const uint32_t* pages = nullptr;
  const uint32_t* list = nullptr;  ///< the rows of q, where they are not consecutive
};
/// Cuts the heads of every KV head into runs of at most `tile`: f(first head, heads).
template <class F>
void each_head_run(const AttentionShape& shape, uint32_t tile, F&& f) {
  const uint32_t group = shape.group();
  for (uint32_t kv = 0; kv < shape.kv_heads; ++kv)
    for (uint32_t i = 0; i < group; i += tile) f(kv * group + i, group - i < tile ? group - i : tile);
}
/// Rows a tile when all heads of a KV head lie in it; 1 where they do not even fit alone.
inline uint32_t rows_a_tile(const AttentionShape& shape, uint32_t tile) {
  return tile > shape.group() ? tile / shape.group() : 1;
}

/// State of the fold for one query vector: running maximum, sum and weighted values.
struct FoldState {
  float m, l;
  float o[kMaxHeadDim];
};
/// Nothing seen yet.
void clear_state(uint32_t head_dim, FoldState* state);

/// A row of kernels.inc: the fold over stored keys for one KV format and instruction set.
struct AttentionKernel {
  std::string_view symbol, technique;
  Isa isa;
  KvFormat kv;
  std::string_view order;
  uint32_t tile;  ///< query vectors (rows x heads) a call
  /// Computes one split for rows*heads query vectors; part[i] gets its (m, l, o), m = -inf when no key of it is
  /// visible.
  void (*split)(const AttentionShape&, const KvView&, const QueryTile&, uint32_t split, FoldState* part);
  /// Folds `part` into `state` (both one query vector).
  void (*fold)(uint32_t head_dim, const FoldState& part, FoldState* state);
  /// out = o / l, zeros when nothing was visible.
  void (*finish)(uint32_t head_dim, const FoldState& state, float* out);
};

/// The summation of fold.h, the canonical one: without being forced, kernels are chosen among its rows alone.
inline constexpr std::string_view kAttentionOrder = "split256";
/// All rows: those of kernels.inc, and the plain kernel of every technique whose check is `family`.
std::span<const AttentionKernel> attention_kernels();
/// The best row of the canonical order for an instruction set.
const AttentionKernel& attention_kernel(KvFormat kv, Isa isa);
/// The row that rounds to bf16 (bf16_attention_amx.cc); null where the instruction set has none.
const AttentionKernel* bf16_attention_kernel(KvFormat kv, Isa isa);

/// The last key that row `row` of a sequence's new ones sees: itself, or without a causal mask the last of the step.
inline uint32_t last_key(const AttentionShape& shape, const SequenceRows& s, uint32_t row) {
  return s.first + (shape.causal ? row : s.rows - 1);
}
/// First and one-past-last split that any of `rows` rows can see; `first` is the last_key of the first.
struct SplitRange {
  uint32_t begin, end;
};
inline SplitRange visible_splits(const AttentionShape& shape, uint32_t first, uint32_t rows) {
  const uint32_t low = shape.window != 0 && first + 1 > shape.window ? first + 1 - shape.window : 0;
  return {low / kSplitKeys, (first + (shape.causal ? rows - 1 : 0)) / kSplitKeys + 1};
}
/// All splits of a tile, folded in order: state[i] of query vector i = row * heads + head.
void attend(const AttentionKernel& kernel, const AttentionShape& shape, const KvView& kv, const QueryTile& tile,
            FoldState* part, FoldState* state);

/// Writes one row's key and value of one head into lane `position % 16` of its page. Keys are already rotated.
void kv_store(const PointwiseKernels& pw, const KvView& kv, uint32_t page, uint32_t lane, uint32_t head,
              const float* key, const float* value);

/// The definition in double, over contiguous keys and values [n][head_dim] of one KV head, of a query whose last key is
/// `position`; for tests and checks.
void attention_reference(const AttentionShape& shape, const double* keys, const double* values, const float* q,
                         uint32_t position, double* out);

}  // namespace vibee
