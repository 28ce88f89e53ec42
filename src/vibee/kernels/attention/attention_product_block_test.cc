// SPDX-License-Identifier: Apache-2.0
// Attention by products of halves beside double.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "vibee/kit/trial_attention.h"

namespace vibee {
namespace {

const AttentionCase kCases[] = {
    {1, 1, 1, 8},
    {17, 4, 4, 24},
    {100, 9, 3, 64},
    {21, 4, 1, 256},
    {300, 4, 1, 40, 37},
    {270, 6, 2, 96, 17, 5},
    {37, 3, 3, 32, 0, 0, false},
    {258, 3, 1, 64, 0, 30},
};

/// What one element of an output of `v` may be off: scores are chains of d products, weights are rounded to halves and
/// pass a rescaling for each of their row's stages and splits, everything is summed in f32.
struct Expected {
  std::vector<double> out, error;
  Expected(const StoredSequence& s, uint32_t row, uint32_t head) {
    const uint32_t d = s.c.head_dim, kv_head = head / s.shape.group(), last = s.last(row);
    out = s.expected(row, head);
    error.assign(d, 0);
    std::vector<double> score, off;
    double top = -INFINITY, sum = 0, reach = 0;
    const uint32_t first = s.c.window != 0 && last + 1 > s.c.window ? last + 1 - s.c.window : 0;
    for (uint32_t p = first; p <= last; ++p) {
      double dot = 0, magnitude = 0;
      for (uint32_t i = 0; i < d; ++i) {
        const double product = double(s.q[(size_t(row) * s.c.heads + head) * d + i]) *
                               s.k[(size_t(p) * s.c.kv_heads + kv_head) * d + i] * s.shape.scale;
        dot += product;
        magnitude += std::fabs(product);
      }
      double error_of = (d + 4) * kUnit * magnitude;
      if (s.c.soft_cap > 0) {  // tanh does not enlarge; its exponential, sum, quotient and difference
        error_of += s.c.soft_cap * 10 * kUnit * (1 + std::fabs(dot / s.c.soft_cap));
        dot = s.c.soft_cap * std::tanh(dot / s.c.soft_cap);
      }
      score.push_back(dot);
      off.push_back(error_of);
      top = std::max(top, dot);
    }
    for (const double x : score) sum += std::exp(x - top), reach = std::max(reach, top - x);
    const double stages = (last - first) / kStageKeys + 2 + (last - first) / kSplitKeys + 2, n = last - first + 1;
    for (uint32_t i = 0; i < d; ++i) {
      for (size_t p = 0; p < score.size(); ++p) {
        const double size = std::fabs(s.v[((first + p) * s.c.kv_heads + kv_head) * d + i]) + std::fabs(out[i]);
        const double weight = std::exp(score[p] - top) / sum;
        const double relative =
            off[p] + kUnit * (reach + 3 * std::fabs(score[p])) + 0x1p-11 + stages * kUnit * (reach + 10) + n * kUnit;
        error[i] += 1.01 * size * (weight * relative + TrialType<Half>::least / sum);
      }
      error[i] += 2 * kUnit * std::fabs(out[i]);
    }
  }
};

template <class In>
void round_queries(StoredSequence& s) {  // so that they are the same as halves
  for (float& v : s.q) v = half_to_float(float_to_half(float(TrialType<In>::value(TrialType<In>::from(v)))));
}

TEST(AttentionProduct, NearDouble) {
  for (const AttentionCase& c : kCases) {
    StoredSequence sequence(c, KvFormat::f16, 3);
    round_queries<float>(sequence);
    poison(sequence);
    const uint32_t rows = last_rows(c), first = c.length - rows, width = c.heads * c.head_dim;
    const auto out = AttentionTrial(sequence, first, rows, kProductTile)
                         .run_product<float>(trial_queries<float>(sequence, first, rows));
    for (uint32_t row = 0; row < rows; ++row)
      for (uint32_t head = 0; head < c.heads; ++head) {
        const Expected want(sequence, first + row, head);
        for (uint32_t i = 0; i < c.head_dim; ++i)
          ASSERT_NEAR(out[uint64_t(row) * width + head * c.head_dim + i], want.out[i], want.error[i])
              << c.length << " d " << c.head_dim << " row " << row << " head " << head;
      }
  }
}

TEST(AttentionProduct, BytesOfARowDoNotDependOnItsTile) {
  for (const AttentionCase& c : {AttentionCase{300, 4, 1, 40, 37}, {270, 3, 1, 64}, {19, 17, 1, 136}}) {
    StoredSequence sequence(c, KvFormat::f16, 5);
    const uint32_t rows = 17, first = c.length - rows, width = c.heads * c.head_dim;
    const auto q = trial_queries<float>(sequence, first, rows);
    const auto out = AttentionTrial(sequence, first, rows, kProductTile).run_product<float>(q);
    for (const uint32_t row : {0u, 3u, 16u}) {
      const auto one = AttentionTrial(sequence, first + row, 1, kProductTile)
                           .run_product<float>(trial_queries<float>(sequence, first + row, 1));
      EXPECT_EQ(0, std::memcmp(one.data(), &out[uint64_t(row) * width], one.memory().bytes)) << row;
    }
  }
}

TEST(AttentionProduct, SixteenBitsInAndOut) {
  StoredSequence sequence({37, 9, 3, 64}, KvFormat::f16, 4);
  round_queries<Bf16>(sequence);
  const auto wide =
      AttentionTrial(sequence, 20, 17, kProductTile).run_product<float>(trial_queries<float>(sequence, 20, 17));
  const auto small =
      AttentionTrial(sequence, 20, 17, kProductTile).run_product<Bf16>(trial_queries<Bf16>(sequence, 20, 17));
  for (uint64_t i = 0; i < wide.size(); ++i) ASSERT_EQ(small[i].bits, float_to_bf16(wide[i])) << i;
}

TEST(AttentionProduct, SharedMemoryFits) {
  EXPECT_EQ(attention_product_launch(1, 256).dynamic_shared, 166912u);  // all that sm_80 has
  for (uint32_t d = 8; d <= kMaxHeadDim; d += 8) EXPECT_LE(attention_product_launch(1, d).dynamic_shared, 166912u);
}

}  // namespace
}  // namespace vibee
