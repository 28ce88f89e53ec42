// SPDX-License-Identifier: Apache-2.0
// Packed documents: forward bytes are those of stored keys and values, gradients those of the definition in double, and
// both the same on every instruction set.
#include "vibee/kernels/attention/self_attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "vibee/base/random/philox.h"

namespace vibee {
namespace {

struct Case {
  std::vector<uint32_t> lengths;
  uint32_t heads, kv_heads, head_dim, window;
  float soft_cap;
};
const Case kCases[] = {
    {{1}, 1, 1, 8, 0, 0},   {{5, 1, 17}, 4, 2, 16, 0, 0}, {{63, 64, 2}, 2, 2, 24, 0, 0},
    {{65}, 9, 3, 32, 0, 0}, {{3, 70}, 3, 1, 40, 7, 0},    {{130, 9}, 4, 4, 64, 66, 30},
    {{33}, 16, 1, 8, 0, 5}, {{40}, 2, 1, 256, 16, 0},     {{300}, 2, 1, 16, 0, 0},
};

std::vector<Isa> isas() {
  std::vector<Isa> all = {Isa::scalar};
  for (Isa isa : {Isa::avx2, Isa::avx512})
    if (isa <= detected_isa()) all.push_back(isa);
  return all;
}

struct Fixture {
  AttentionShape shape;
  std::vector<Document> documents;
  std::vector<float> q, k, v, out, sums, g, dq, dk, dv;

  explicit Fixture(const Case& c) {
    shape = {c.heads, c.kv_heads, c.head_dim, 1 / std::sqrt(float(c.head_dim)), c.soft_cap, c.window};
    uint32_t rows = 0;
    for (uint32_t n : c.lengths) documents.push_back({rows, rows + n}), rows += n;
    RandomStream random(6, Purpose::test, rows * 131 + c.head_dim);
    q.resize(size_t(rows) * c.heads * c.head_dim);
    k.resize(size_t(rows) * c.kv_heads * c.head_dim);
    v.resize(k.size()), g.resize(q.size());
    for (auto* x : {&q, &k, &v, &g})
      for (float& f : *x) f = random.normal();
    out.resize(q.size()), sums.resize(size_t(rows) * c.heads);
    dq.assign(q.size(), NAN), dk.assign(k.size(), NAN), dv.assign(k.size(), NAN);
  }
  template <class F>
  void each_item(F&& f) {
    uint32_t longest = 0;
    for (const Document& d : documents) longest = std::max(longest, d.end - d.begin);
    std::vector<uint8_t> scratch(self_attention_scratch(shape, longest), 0xff);  // NaN wherever nothing was written
    for (const Document& d : documents)
      for (uint32_t h = 0; h < shape.kv_heads; ++h) f(d, h, scratch.data());
  }
  void forward(Isa isa) {
    each_item([&](Document d, uint32_t h, uint8_t* scratch) {
      self_attention(attention_kernel(KvFormat::f32, isa), shape,
                     {q.data(), k.data(), v.data(), out.data(), sums.data()}, d, h, scratch);
    });
  }
  void backward(Isa isa) {
    each_item([&](Document d, uint32_t h, uint8_t* scratch) {
      self_attention_backward(isa)(
          shape, {q.data(), k.data(), v.data(), out.data(), sums.data(), g.data(), dq.data(), dk.data(), dv.data()}, d,
          h, scratch);
    });
  }
};

template <class A>
bool same(const A& a, const A& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(a[0])) == 0;
}

TEST(SelfAttention, ForwardBytesAreThoseOfStoredKeys) {
  for (const Case& c : kCases) {
    Fixture f(c);
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
  for (const Case& c : kCases) {
    Fixture f(c);
    f.forward(isas().back());
    f.backward(isas().back());
    const uint32_t d = c.head_dim;
    std::vector<double> dq(f.q.size()), dk(f.k.size()), dv(f.v.size());
    for (const Document& doc : f.documents)
      for (uint32_t r = doc.begin; r < doc.end; ++r)
        for (uint32_t h = 0; h < c.heads; ++h) {
          const uint32_t first = c.window && r + 1 > doc.begin + c.window ? r + 1 - c.window : doc.begin;
          const size_t row = (size_t(r) * c.heads + h) * d;
          const auto at = [&](uint32_t p) { return (size_t(p) * c.kv_heads + h / f.shape.group()) * d; };
          std::vector<double> score, slope, toward;
          double sum = 0, mean = 0;
          for (uint32_t p = first; p <= r; ++p) {
            double dot = 0, dp = 0;
            for (uint32_t i = 0; i < d; ++i) {
              dot += double(f.q[row + i]) * f.k[at(p) + i];
              dp += double(f.g[row + i]) * f.v[at(p) + i];
            }
            const double t = c.soft_cap > 0 ? std::tanh(dot * f.shape.scale / c.soft_cap) : 0;
            score.push_back(std::exp(c.soft_cap > 0 ? c.soft_cap * t : dot * f.shape.scale));
            slope.push_back(f.shape.scale * (1 - t * t));
            toward.push_back(dp);
            sum += score.back();
          }
          for (size_t p = 0; p < score.size(); ++p) mean += score[p] / sum * toward[p];
          for (size_t p = 0; p < score.size(); ++p) {
            const double weight = score[p] / sum, by = weight * (toward[p] - mean) * slope[p];
            const size_t key = at(first + uint32_t(p));
            for (uint32_t i = 0; i < d; ++i) {
              dq[row + i] += by * f.k[key + i];
              dk[key + i] += by * f.q[row + i];
              dv[key + i] += weight * f.g[row + i];
            }
          }
        }
    const auto near = [&](const std::vector<float>& got, const std::vector<double>& want) {
      double size = 0, worst = 0;
      for (size_t i = 0; i < want.size(); ++i) {
        size = std::max(size, std::fabs(want[i]));
        worst = std::max(worst, std::isnan(got[i]) ? INFINITY : std::fabs(got[i] - want[i]));
      }
      EXPECT_LE(worst, 1e-5 * std::max(size, 1.0)) << c.head_dim << " " << c.heads;
    };
    near(f.dq, dq), near(f.dk, dk), near(f.dv, dv);
  }
}

TEST(SelfAttention, EveryInstructionSetGivesTheSameBytes) {
  for (const Case& c : kCases) {
    Fixture one(c);
    one.forward(Isa::scalar);
    one.backward(Isa::scalar);
    for (Isa isa : isas()) {
      Fixture other(c);
      other.forward(isa);
      other.backward(isa);
      EXPECT_TRUE(same(one.out, other.out) && same(one.sums, other.sums)) << int(isa);
      EXPECT_TRUE(same(one.dq, other.dq) && same(one.dk, other.dk) && same(one.dv, other.dv)) << int(isa);
    }
  }
}

/// A document's rows do not depend on what is packed around it.
TEST(SelfAttention, NeighboursChangeNoByte) {
  Fixture packed({{19, 41, 7}, 4, 2, 16, 9, 0});
  packed.forward(isas().back());
  packed.backward(isas().back());
  Fixture alone({{41}, 4, 2, 16, 9, 0});
  const auto cut = [&](const std::vector<float>& from, std::vector<float>& to) {
    const size_t width = to.size() / 41;
    std::copy_n(from.begin() + long(19 * width), to.size(), to.begin());
  };
  cut(packed.q, alone.q), cut(packed.k, alone.k), cut(packed.v, alone.v), cut(packed.g, alone.g);
  alone.forward(isas().back());
  alone.backward(isas().back());
  Fixture expected({{41}, 4, 2, 16, 9, 0});
  cut(packed.out, expected.out), cut(packed.dq, expected.dq), cut(packed.dk, expected.dk), cut(packed.dv, expected.dv);
  EXPECT_TRUE(same(alone.out, expected.out) && same(alone.dq, expected.dq) && same(alone.dk, expected.dk) &&
              same(alone.dv, expected.dv));
}

}  // namespace
}  // namespace vibee
