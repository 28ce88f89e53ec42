// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/attention/self_attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "vibee/base/math/log2.h"
#include "vibee/kernels/attention/self_attention_backward.h"

namespace vibee {
namespace {

uint32_t pages_of(uint32_t rows) { return (rows + kPageTokens - 1) / kPageTokens; }
KvLayout one_head(const AttentionShape& shape) { return {KvFormat::f32, 1, shape.head_dim}; }

}  // namespace

Range AttentionItem::rows(uint32_t blocks) const {
  const auto cut = [&](uint32_t p) { return uint32_t(std::lround(blocks * std::sqrt(double(p) / parts))); };
  return {cut(part), cut(part + 1)};
}
Range AttentionItem::keys(uint32_t blocks) const {
  const auto cut = [&](uint32_t p) { return uint32_t(std::lround(blocks * (1 - std::sqrt(1 - double(p) / parts)))); };
  return {cut(part), cut(part + 1)};
}

uint64_t self_attention_scratch(const AttentionShape& shape, uint32_t rows) {
  const uint64_t pages = pages_of(rows);
  const uint64_t forward = pages * (one_head(shape).layer_bytes() + sizeof(uint32_t)) + kKvSlack;
  return std::max(forward, backward_scratch(shape.head_dim));
}

void self_attention(const AttentionKernel& kernel, const AttentionShape& shape, const SelfAttention& x,
                    const AttentionItem& item, uint8_t* scratch) {
  const Document document = item.document;
  AttentionShape one = shape;
  one.heads = shape.group();
  one.kv_heads = 1;
  const uint32_t kv_head = item.kv_head, step = rows_a_tile(one, kernel.tile);
  const Range mine = item.rows((document.end - document.begin + step - 1) / step);
  // Rows of the document that the part's rows may see, the last of which are its own.
  const uint32_t rows = std::min(document.end - document.begin, mine.end * step), d = shape.head_dim,
                 group = shape.group();
  const uint32_t stride = shape.heads * d, kv_stride = shape.kv_heads * d, first_head = kv_head * group;
  // The document's keys and values as the pages of a sequence, which the kernels read.
  const KvView kv{scratch, one_head(shape).layer_bytes(), one_head(shape)};
  auto* pages = reinterpret_cast<uint32_t*>(scratch + pages_of(rows) * kv.page_bytes + kKvSlack);
  std::memset(scratch, 0, pages_of(rows) * kv.page_bytes + kKvSlack);
  for (uint32_t p = 0; p < pages_of(rows); ++p) pages[p] = p;
  for (uint32_t r = 0; r < rows; ++r) {
    const uint64_t at = uint64_t(document.begin + r) * kv_stride + kv_head * d;
    kv_store(pointwise_scalar, kv, r / kPageTokens, r % kPageTokens, 0, x.k + at, x.v + at);
  }
  FoldState part[kMaxQueryTile], state[kMaxQueryTile];
  for (uint32_t r = mine.begin * step; r < rows; r += step)
    each_head_run(one, kernel.tile, [&](uint32_t head, uint32_t heads) {
      const uint64_t row = document.begin + r;
      const QueryTile tile{
          x.q + row * stride + first_head * d, stride, std::min(step, rows - r), r, head, heads, pages};
      attend(kernel, one, kv, tile, part, state);
      for (uint32_t i = 0; i < tile.rows * heads; ++i) {
        const uint64_t to = (row + i / heads) * shape.heads + first_head + head + i % heads;
        kernel.finish(d, state[i], x.out + to * d);
        x.sums[to] = float(double(state[i].m) + log2_of(double(state[i].l)));
      }
    });
}

SelfAttentionBackward self_attention_backward(Isa isa) {
  switch (isa) {
    case Isa::amx:
    case Isa::avx512: return self_attention_backward_avx512;
    case Isa::avx2: return self_attention_backward_avx2;
    default: return self_attention_backward_scalar;
  }
}

}  // namespace vibee
