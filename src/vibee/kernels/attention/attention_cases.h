// SPDX-License-Identifier: Apache-2.0
// A made-up sequence with stored keys and values and the queries of every position: what the family's checks and
// benches run on.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "vibee/base/math/half.h"
#include "vibee/base/random/philox.h"
#include "vibee/kernels/attention/attention.h"

namespace vibee {

struct AttentionCase {
  uint32_t length, heads, kv_heads, head_dim, window = 0;
  float soft_cap = 0;
  bool causal = true;
};

/// Lengths around the page (16) and the split (256), primes, groups of 1 to 12, windows, soft cap, no causal mask.
inline constexpr AttentionCase kStandardAttentionCases[] = {
    {1, 1, 1, 8},
    {15, 3, 1, 64},
    {16, 9, 3, 64},
    {17, 4, 4, 24},
    {255, 4, 1, 256},
    {256, 9, 3, 64},
    {257, 8, 1, 32},
    {300, 4, 1, 256, 37},
    {523, 2, 2, 40, 256},
    {601, 9, 3, 64, 0, 30},
    {700, 6, 2, 96, 17, 5},
    {513, 12, 1, 32},
    {270, 14, 2, 64},
    {261, 17, 1, 16},
    {1, 2, 2, 8, 0, 0, false},
    {37, 3, 3, 32, 0, 0, false},
    {256, 4, 2, 40, 0, 0, false},
    {530, 12, 12, 32, 0, 0, false},
};

/// Largest allowed difference to the softmax in double over what is stored of keys and values drawn, as queries, from a
/// standard normal.
inline constexpr double kAttentionErrorBound = 4e-6;

/// What is stored at a place, as batch.h describes the formats.
inline float stored_key(const KvView& kv, uint32_t page, uint32_t lane, uint32_t head, uint32_t i) {
  const uint8_t* p = kv.key(page, head);
  const auto* halves = reinterpret_cast<const uint16_t*>(p);
  switch (kv.layout.format) {
    case KvFormat::f32: return reinterpret_cast<const float*>(p)[i * kPageTokens + lane];
    case KvFormat::f16: return half_to_float(halves[i * kPageTokens + lane]);
    case KvFormat::q8_0:
      return float(int8_t(p[kv.layout.head_dim + i * kPageTokens + lane])) *
             half_to_float(halves[i / 32 * kPageTokens + lane]);
    case KvFormat::int4: break;
  }
  const uint32_t both = p[4 * kPageTokens + i / 2 * kPageTokens + lane];
  return std::fma(float(i % 2 ? both >> 4 : both & 15), half_to_float(halves[lane]),
                  half_to_float(halves[kPageTokens + lane]));
}
inline float stored_value(const KvView& kv, uint32_t page, uint32_t lane, uint32_t head, uint32_t i) {
  const uint8_t* p = kv.value(page, head);
  const auto* halves = reinterpret_cast<const uint16_t*>(p);
  const uint32_t d = kv.layout.head_dim;
  switch (kv.layout.format) {
    case KvFormat::f32: return reinterpret_cast<const float*>(p)[lane * d + i];
    case KvFormat::f16: return half_to_float(halves[lane * d + i]);
    case KvFormat::q8_0: return float(int8_t(p[d + lane * d + i])) * half_to_float(halves[lane * (d / 32) + i / 32]);
    case KvFormat::int4: break;
  }
  const uint32_t both = p[4 * kPageTokens + lane * (d / 2) + i / 32 * 16 + i % 16];
  return std::fma(float(i / 16 % 2 ? both >> 4 : both & 15), half_to_float(halves[lane]),
                  half_to_float(halves[kPageTokens + lane]));
}

struct StoredSequence {
  AttentionCase c;
  AttentionShape shape;
  std::vector<float> q, k, v;  ///< [position][head][head_dim], keys and values as they are stored
  std::vector<uint8_t> store;
  std::vector<uint32_t> pages;  ///< last page first, so that page order is no accident
  KvView view;

  StoredSequence(const AttentionCase& what, KvFormat format, uint64_t seed) : c(what) {
    shape = {c.heads, c.kv_heads, c.head_dim, 1 / std::sqrt(float(c.head_dim)), c.soft_cap, c.window, c.causal};
    RandomStream random(seed, Purpose::test, c.length * 131 + c.head_dim);
    q.resize(size_t(c.length) * c.heads * c.head_dim);
    k.resize(size_t(c.length) * c.kv_heads * c.head_dim);
    v.resize(k.size());
    for (std::vector<float>* x : {&q, &k, &v})
      for (float& f : *x) f = random.normal();
    const uint32_t count = (c.length + kPageTokens - 1) / kPageTokens;
    view.layout = {format, c.kv_heads, c.head_dim};
    view.page_bytes = view.layout.layer_bytes();
    store.assign(count * view.page_bytes + kKvSlack, 0);
    view.base = store.data();
    for (uint32_t i = 0; i < count; ++i) pages.push_back(count - 1 - i);
    for (uint32_t p = 0; p < c.length; ++p)
      for (uint32_t h = 0; h < c.kv_heads; ++h) {
        const size_t at = (size_t(p) * c.kv_heads + h) * c.head_dim;
        const uint32_t page = pages[p / kPageTokens], lane = p % kPageTokens;
        kv_store(pointwise_scalar, view, page, lane, h, &k[at], &v[at]);
        for (uint32_t i = 0; i < c.head_dim; ++i) {
          k[at + i] = stored_key(view, page, lane, h, i);
          v[at + i] = stored_value(view, page, lane, h, i);
        }
      }
  }
  StoredSequence(const StoredSequence&) = delete;  // view points into store
  StoredSequence& operator=(const StoredSequence&) = delete;

  /// The last key that a row sees.
  uint32_t last(uint32_t row) const { return last_key(shape, {0, c.length, 0, nullptr}, row); }
  /// Rows [first, end) of one KV head, in tiles of at most `rows` rows, into out (shaped as q).
  void attend_rows(const AttentionKernel& kernel, uint32_t kv_head, uint32_t first, uint32_t end, uint32_t rows,
                   float* out) const {
    std::vector<FoldState> part(kMaxQueryTile), state(kMaxQueryTile);
    const uint32_t width = c.heads * c.head_dim, most = std::min(rows, rows_a_tile(shape, kernel.tile));
    each_head_run(shape, kernel.tile, [&](uint32_t head, uint32_t heads) {
      if (head / shape.group() != kv_head) return;
      for (uint32_t row = first; row < end; row += most) {
        const uint32_t n = std::min(most, end - row);
        attend(kernel, shape, view, {&q[size_t(row) * width], width, n, last(row), head, heads, pages.data()},
               part.data(), state.data());
        for (uint32_t i = 0; i < n * heads; ++i)
          kernel.finish(c.head_dim, state[i],
                        out + (size_t(row) + i / heads) * width + (head + i % heads) * c.head_dim);
      }
    });
  }
  std::vector<float> attend_all(const AttentionKernel& kernel, uint32_t rows) const {
    std::vector<float> out(q.size());
    for (uint32_t h = 0; h < c.kv_heads; ++h) attend_rows(kernel, h, 0, c.length, rows, out.data());
    return out;
  }
  /// The double definition of one row and head.
  std::vector<double> expected(uint32_t position, uint32_t head) const {
    const uint32_t kv_head = head / shape.group(), d = c.head_dim;
    std::vector<double> keys(size_t(last(position) + 1) * d), values(keys.size()), out(d);
    for (uint32_t p = 0; p <= last(position); ++p)
      for (uint32_t i = 0; i < d; ++i) {
        keys[size_t(p) * d + i] = k[(size_t(p) * c.kv_heads + kv_head) * d + i];
        values[size_t(p) * d + i] = v[(size_t(p) * c.kv_heads + kv_head) * d + i];
      }
    attention_reference(shape, keys.data(), values.data(), &q[(size_t(position) * c.heads + head) * d], last(position),
                        out.data());
    return out;
  }
  /// Largest difference between `out` (shaped as q) and the definition, over some 24 positions and all heads.
  double worst_error(const std::vector<float>& out) const {
    double worst = 0;
    for (uint32_t position = 0; position < c.length; position += 1 + c.length / 24)
      for (uint32_t head = 0; head < c.heads; ++head) {
        const std::vector<double> want = expected(position, head);
        for (uint32_t i = 0; i < c.head_dim; ++i) {
          const double difference = std::fabs(want[i] - out[(size_t(position) * c.heads + head) * c.head_dim + i]);
          worst = difference <= worst ? worst : difference;  // a NaN counts as worst
        }
      }
    return worst;
  }
};

class CheckContext;
/// family_check.cc: proves the rows of one technique; a check of its own may call it.
Status check_family_kernels_attention(CheckContext& context, std::string_view id);

}  // namespace vibee
