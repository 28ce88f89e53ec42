// SPDX-License-Identifier: Apache-2.0
// Packed documents: forward bytes are those of stored keys and values, gradients those of the definition in double, and
// both the same on every instruction set.
#include <gtest/gtest.h>

#include <cstring>

#include "vibee/kernels/attention/self_attention_cases.h"

namespace vibee {
namespace {

std::vector<Isa> isas() {
  std::vector<Isa> all = {Isa::scalar};
  for (Isa isa : {Isa::avx2, Isa::avx512})
    if (isa <= detected_isa()) all.push_back(isa);
  return all;
}

template <class A>
bool same(const A& a, const A& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(a[0])) == 0;
}

TEST(SelfAttention, ForwardBytesAreThoseOfStoredKeys) {
  for (const SelfAttentionCase& c : self_attention_cases()) {
    PackedDocuments f(c, 6);
    f.forward(Isa::scalar);
    // A sequence a document, its pages in falling order, a row at a time as a decoder would.
    const uint32_t d = c.head_dim;
    for (const Document& doc : f.documents) {
      const uint32_t rows = doc.end - doc.begin, count = (rows + kPageTokens - 1) / kPageTokens;
      KvView view{nullptr, 0, {KvFormat::f32, c.kv_heads, d}};
      view.page_bytes = view.layout.layer_bytes();
      std::vector<uint8_t> store(count * view.page_bytes + kKvSlack);
      view.base = store.data();
      std::vector<uint32_t> pages;
      for (uint32_t p = 0; p < count; ++p) pages.push_back(count - 1 - p);
      const AttentionKernel& kernel = attention_kernel(KvFormat::f32, Isa::scalar);
      std::vector<FoldState> part(kMaxQueryTile), state(kMaxQueryTile);
      for (uint32_t r = 0; r < rows; ++r) {
        const uint64_t row = doc.begin + r;
        for (uint32_t h = 0; h < c.kv_heads; ++h)
          kv_store(pointwise_scalar, view, pages[r / kPageTokens], r % kPageTokens, h, &f.k[(row * c.kv_heads + h) * d],
                   &f.v[(row * c.kv_heads + h) * d]);
        for (uint32_t h = 0; h < c.heads; ++h) {
          const QueryTile tile{&f.q[row * c.heads * d], c.heads * d, 1, r, h, 1, pages.data()};
          attend(kernel, f.shape, view, tile, part.data(), state.data());
          std::vector<float> want(d);
          kernel.finish(d, state[0], want.data());
          ASSERT_EQ(0, std::memcmp(want.data(), &f.out[(row * c.heads + h) * d], d * 4)) << "row " << row;
          ASSERT_NEAR(f.sums[row * c.heads + h], state[0].m + std::log2(state[0].l), 2e-6);
        }
      }
    }
  }
}

TEST(SelfAttention, GradientsAreThoseOfTheDefinition) {
  for (const SelfAttentionCase& c : self_attention_cases()) {
    PackedDocuments f(c, 6);
    f.forward(isas().back());
    f.backward(isas().back());
    EXPECT_LE(f.worst_error(), 1e-5) << c.head_dim << " " << c.heads;
  }
}

TEST(SelfAttention, EveryInstructionSetGivesTheSameBytes) {
  for (const SelfAttentionCase& c : self_attention_cases()) {
    PackedDocuments one(c, 6);
    one.forward(Isa::scalar);
    one.backward(Isa::scalar);
    for (Isa isa : isas()) {
      PackedDocuments other(c, 6);
      other.forward(isa);
      other.backward(isa);
      EXPECT_TRUE(same(one.out, other.out) && same(one.sums, other.sums)) << int(isa);
      EXPECT_TRUE(same(one.dq, other.dq) && same(one.dk, other.dk) && same(one.dv, other.dv)) << int(isa);
    }
  }
}

TEST(SelfAttention, PartsGiveTheSameBytes) {
  for (const SelfAttentionCase& c : self_attention_cases()) {
    PackedDocuments whole(c, 6);
    whole.forward(isas().back());
    whole.backward(isas().back());
    for (uint32_t parts : {2u, 3u, 16u}) {
      PackedDocuments cut(c, 6);
      cut.forward(isas().back(), parts);
      cut.backward(isas().back(), parts);
      EXPECT_TRUE(same(whole.out, cut.out) && same(whole.sums, cut.sums)) << parts;
      EXPECT_TRUE(same(whole.dq, cut.dq) && same(whole.dk, cut.dk) && same(whole.dv, cut.dv)) << parts;
    }
  }
}

/// A document's rows do not depend on what is packed around it.
TEST(SelfAttention, NeighboursChangeNoByte) {
  PackedDocuments packed({{19, 41, 7}, 4, 2, 16, 9}, 6);
  packed.forward(isas().back());
  packed.backward(isas().back());
  PackedDocuments alone({{41}, 4, 2, 16, 9}, 6);
  const auto cut = [&](const std::vector<float>& from, std::vector<float>& to) {
    const size_t width = to.size() / 41;
    std::copy_n(from.begin() + long(19 * width), to.size(), to.begin());
  };
  cut(packed.q, alone.q), cut(packed.k, alone.k), cut(packed.v, alone.v), cut(packed.g, alone.g);
  alone.forward(isas().back());
  alone.backward(isas().back());
  PackedDocuments expected({{41}, 4, 2, 16, 9}, 6);
  cut(packed.out, expected.out), cut(packed.dq, expected.dq), cut(packed.dk, expected.dk), cut(packed.dv, expected.dv);
  EXPECT_TRUE(same(alone.out, expected.out) && same(alone.dq, expected.dq) && same(alone.dk, expected.dk) &&
              same(alone.dv, expected.dv));
}

}  // namespace
}  // namespace vibee
