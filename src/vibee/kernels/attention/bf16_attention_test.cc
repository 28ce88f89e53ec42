// SPDX-License-Identifier: Apache-2.0
// Attention that rounds to bf16, against the definition in double over what is stored.
#include <gtest/gtest.h>

#include <cmath>

#include "vibee/kernels/attention/attention_cases.h"
#include "vibee/kernels/attention/flashinfer.h"

namespace vibee {
namespace {

#ifdef VIBEE_EMULATED_ISA
constexpr uint32_t kMostElements = 64 * 257;  ///< keys times dimensions: tiles in plain words take their time
#else
constexpr uint32_t kMostElements = UINT32_MAX;
#endif

class Bf16Attention : public testing::TestWithParam<KvFormat> {};

/// How far an output may lie from the definition: numbers of operands move by 2^-9 of themselves each, so a score by
/// e = 2^-8 (and what squares of that add) times the sum of its terms' sizes, weights by a factor of exp(e) and their
/// own rounding, above and below the fraction; values by 2^-9. Sums in f32 are far below.
double bound(const StoredSequence& s, uint32_t position, uint32_t head) {
  const uint32_t d = s.c.head_dim, kv = head / s.shape.group();
  double score = 0, value = 0;
  for (uint32_t p = 0; p <= s.last(position); ++p) {
    double sum = 0;
    for (uint32_t i = 0; i < d; ++i) {
      const size_t at = (size_t(p) * s.c.kv_heads + kv) * d + i;
      sum += std::fabs(double(s.q[(size_t(position) * s.c.heads + head) * d + i]) * s.k[at]);
      value = std::max(value, std::fabs(double(s.v[at])));
    }
    score = std::max(score, sum * s.shape.scale);
  }
  const double e = (0x1p-8 + 0x1p-18) * score;
  return value * (std::exp(2 * e) * (1 + 0x1p-8) - 1 + 0x1p-9) + kAttentionErrorBound;
}

TEST_P(Bf16Attention, LiesInItsBoundsOfTheDefinition) {
  const AttentionKernel* kernel = bf16_attention_kernel(GetParam(), detected_isa());
  if (!kernel) GTEST_SKIP() << "this CPU has no AMX";
  for (const AttentionCase& c : kStandardAttentionCases) {
    if (c.head_dim % info(GetParam()).unit != 0 || c.length * c.head_dim > kMostElements) continue;
    const StoredSequence s(c, GetParam(), 12);
    for (const uint32_t rows : {48u, 3u}) {
      if (rows == 3 && kMostElements != UINT32_MAX && GetParam() != KvFormat::f16) continue;
      const std::vector<float> out = s.attend_all(*kernel, rows);
      double worst = 0;
      for (uint32_t position = 0; position < c.length; position += 1 + c.length / 12)
        for (uint32_t head = 0; head < c.heads; ++head) {
          const std::vector<double> want = s.expected(position, head);
          const double allowed = bound(s, position, head);
          for (uint32_t i = 0; i < c.head_dim; ++i) {
            const double error = std::fabs(want[i] - out[(size_t(position) * c.heads + head) * c.head_dim + i]);
            worst = error / allowed <= worst ? worst : error / allowed;  // a NaN counts as worst
          }
        }
      EXPECT_LE(worst, 1) << "length " << c.length << " d " << c.head_dim << " rows " << rows;
      EXPECT_TRUE(c.length == 1 || worst > 0) << "length " << c.length;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, Bf16Attention,
                         testing::Values(KvFormat::f32, KvFormat::f16, KvFormat::q8_0, KvFormat::int4),
                         [](const auto& row) { return std::string(vibee::info(row.param).name); });

/// A row's output does not depend on the rows of its tile, nor on how the step is cut.
TEST(Bf16Attention, TilesDoNotShow) {
  const AttentionKernel* kernel = bf16_attention_kernel(KvFormat::f16, detected_isa());
  if (!kernel) GTEST_SKIP() << "this CPU has no AMX";
  const StoredSequence s({kMostElements == UINT32_MAX ? 300u : 40u, 9, 3, 64}, KvFormat::f16, 13);
  EXPECT_EQ(s.attend_all(*kernel, 48), s.attend_all(*kernel, 1));
  EXPECT_EQ(s.attend_all(*kernel, 48), s.attend_all(*kernel, 7));
}

/// What a list was made for by tiles goes to the canonical kernel where that suffices.
TEST(Bf16Attention, FewVectorsStayCanonical) {
  const AttentionKernel& few = attention_kernel(KvFormat::f16, detected_isa());
  const BatchQueries queries{few, {}, {}, {}, nullptr, nullptr, bf16_attention_kernel(KvFormat::f16, Isa::amx)};
  EXPECT_EQ(&queries.kernel_for(few.tile), &few);
  EXPECT_EQ(&queries.kernel_for(few.tile + 1), queries.many);
}

}  // namespace
}  // namespace vibee
