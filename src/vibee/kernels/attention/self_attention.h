// SPDX-License-Identifier: Apache-2.0
// Attention of a training step: packed documents whose rows see each other and nothing stored (v1671, forward and
// backward). Work items are (document, KV head), or parts of one where threads would have nothing to do otherwise;
// every element is one thread's, in an order of its own, so bytes depend neither on threads nor on parts. No array
// grows with the square of a document: the backward pass makes scores again, a block of them at a time.
#pragma once

#include "vibee/base/thread/team.h"
#include "vibee/kernels/attention/attention.h"

namespace vibee {

/// Rows begin to end of a step.
struct Document {
  uint32_t begin, end;
};

/// A document's rows under a KV head and the heads of its group, or one of several parts of about the same work: of
/// rows, and in the backward pass of keys as well.
struct AttentionItem {
  Document document;
  uint32_t kv_head;
  uint32_t part = 0, parts = 1;
  /// Of `blocks` of rows those of the part, where a row works more the later it comes; of keys where less.
  Range rows(uint32_t blocks) const;
  Range keys(uint32_t blocks) const;
};

/// Rows are [heads * head_dim], keys and values [kv_heads * head_dim]; `sums` [heads] are log2 of the sum of e^score.
struct SelfAttention {
  const float *q, *k, *v;
  float *out, *sums;
};
struct SelfAttentionGradient {
  const float *q, *k, *v, *out, *sums;
  const float* g;       ///< gradient of out
  float *dq, *dk, *dv;  ///< overwritten
};

/// Bytes of scratch that a thread needs for documents of at most `rows` rows, forward or backward.
uint64_t self_attention_scratch(const AttentionShape& shape, uint32_t rows);

/// One item. The fold is that of a step over stored keys (fold.h): a row's bytes are those that a session computes with
/// keys and values in f32. The kernel is an f32 row.
void self_attention(const AttentionKernel& kernel, const AttentionShape& shape, const SelfAttention& x,
                    const AttentionItem& item, uint8_t* scratch);

/// One item of the backward pass. P = 2^(score - sum), dV += P^T g, dS = P (g V^T - g.out), dQ += dS K, dK += dS^T Q,
/// every element one fma chain: over ascending keys, or over ascending rows and their heads. Parts make scores that two
/// of them need twice.
using SelfAttentionBackward = void (*)(const AttentionShape& shape, const SelfAttentionGradient& x,
                                       const AttentionItem& item, uint8_t* scratch);
void self_attention_backward_scalar(const AttentionShape&, const SelfAttentionGradient&, const AttentionItem&,
                                    uint8_t*);
void self_attention_backward_avx2(const AttentionShape&, const SelfAttentionGradient&, const AttentionItem&, uint8_t*);
void self_attention_backward_avx512(const AttentionShape&, const SelfAttentionGradient&, const AttentionItem&,
                                    uint8_t*);
SelfAttentionBackward self_attention_backward(Isa isa);

}  // namespace vibee
