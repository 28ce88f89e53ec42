// SPDX-License-Identifier: Apache-2.0
// Every row of the attention family against the definition in double, and against the plain row of its order.
#include <gtest/gtest.h>

#include <cstring>

#include "vibee/kernels/attention/attention_cases.h"

namespace vibee {
namespace {

constexpr uint32_t kLongestInSoftware = 257;  ///< the plain rows compute fma in software

class AttentionConformance : public testing::TestWithParam<AttentionKernel> {};

TEST_P(AttentionConformance, EveryStandardShape) {
  const AttentionKernel& kernel = GetParam();
  if (kernel.isa > detected_isa()) GTEST_SKIP() << "this CPU has no " << name(kernel.isa);
  for (const AttentionCase& c : kStandardAttentionCases) {
    if (c.head_dim % info(kernel.kv).unit != 0) continue;
    if (kernel.isa == Isa::scalar && c.length > kLongestInSoftware) continue;
    const StoredSequence sequence(c, kernel.kv, 11);
    const std::vector<float> out = sequence.attend_all(kernel, kMaxQueryTile);
    EXPECT_LE(sequence.worst_error(out), kAttentionErrorBound) << "length " << c.length << " d " << c.head_dim;
    for (const AttentionKernel& plain : attention_kernels())
      if (c.length <= kLongestInSoftware && plain.isa == Isa::scalar && plain.order == kernel.order &&
          plain.kv == kernel.kv) {
        EXPECT_EQ(0, std::memcmp(out.data(), sequence.attend_all(plain, 3).data(), out.size() * sizeof(float)))
            << plain.symbol;
      }
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, AttentionConformance,
                         testing::ValuesIn(attention_kernels().begin(), attention_kernels().end()),
                         [](const auto& row) { return std::string(row.param.symbol); });

}  // namespace
}  // namespace vibee
