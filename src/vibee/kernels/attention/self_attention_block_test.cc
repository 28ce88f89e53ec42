// SPDX-License-Identifier: Apache-2.0
// Attention of a training step as block programs: forward beside the definition in double, gradients by the bytes of
// the CPU's kernels.
#include <gtest/gtest.h>

#include <cmath>
#include <span>

#include "vibee/kernels/attention/self_attention_cases.h"
#include "vibee/kernels/attention/self_attention_tiles.h"
#include "vibee/kit/block_trial.h"

namespace vibee {
namespace {

template <class T>
TrialArray<T> on_device(const std::vector<T>& from, uint32_t lead = 0) {
  TrialArray<T> to(from.size(), lead);
  std::copy(from.begin(), from.end(), to.data());
  return to;
}

/// What the kernels are given of a packed step, and what they leave.
struct SelfTrial {
  SelfAttentionSizes sizes;
  uint32_t rows;
  TrialArray<float> q, k, v, g, out, sums, means, dq, dk, dv;
  SelfAttentionTiles tiles;
  TrialArray<SelfAttentionTile> queries, keys;

  explicit SelfTrial(const PackedDocuments& f, uint32_t lead = 0)
      : sizes{f.shape.heads, f.shape.kv_heads, f.shape.head_dim, f.shape.window, f.shape.scale, f.shape.soft_cap},
        rows(uint32_t(f.sums.size() / f.shape.heads)),
        q(on_device(f.q, lead)),
        k(on_device(f.k, lead)),
        v(on_device(f.v, lead)),
        g(on_device(f.g, lead)),
        out(on_device(f.out, lead)),
        sums(on_device(f.sums)),
        means(f.sums.size()),
        dq(f.q.size(), lead),
        dk(f.k.size(), lead),
        dv(f.v.size(), lead),
        tiles(self_attention_tiles(f.documents, f.shape.group(), self_attention_tile(f.shape.head_dim))),
        queries(on_device(tiles.queries)),
        keys(on_device(tiles.keys)) {}
  std::string kernel(const char* what) const {
    return fmt::format("vibee_self_attention_{}f32_{}", what, sizes.head_dim <= 64 ? 64 : 256);
  }
  Status forward() {
    return run_kernel(kernel(""), self_attention_launch(uint32_t(queries.size()), sizes.kv_heads, sizes.head_dim),
                      SelfAttentionArgs{q.data(), k.data(), v.data(), out.data(), sums.data(), queries.data(), sizes},
                      {q.memory(), k.memory(), v.memory(), queries.memory()}, {out.memory(), sums.memory()});
  }
  Status backward() {
    const auto vectors = uint32_t(sums.size());
    VIBEE_TRY(run_kernel("vibee_self_attention_means_f32", self_attention_means_launch(vectors),
                         SelfAttentionMeansArgs{out.data(), g.data(), means.data(), vectors, sizes.head_dim},
                         {out.memory(), g.memory()}, {means.memory()}));
    SelfAttentionDxArgs args{q.data(),  k.data(),  v.data(),  g.data(),       sums.data(), means.data(),
                             dq.data(), dk.data(), dv.data(), queries.data(), sizes};
    const std::vector<ShimMemory> inputs = {q.memory(),    k.memory(),     v.memory(),    g.memory(),
                                            sums.memory(), means.memory(), keys.memory(), queries.memory()};
    VIBEE_TRY(run_kernel(kernel("dq_"),
                         self_attention_dq_launch(uint32_t(queries.size()), sizes.kv_heads, sizes.head_dim), args,
                         inputs, {dq.memory()}));
    args.tiles = keys.data();
    return run_kernel(kernel("dkv_"), self_attention_dkv_launch(uint32_t(keys.size()), sizes.kv_heads, sizes.head_dim),
                      args, inputs, {dk.memory(), dv.memory()});
  }
};

/// Lengths beside tiles, groups of 1 to 17, windows, soft caps, head dimensions that fill no lane's columns.
const SelfAttentionCase kCases[] = {
    {{1}, 1, 1, 8},         {{5, 1, 17}, 4, 2, 16},      {{65}, 1, 1, 32},
    {{3, 70}, 2, 1, 40, 7}, {{66, 9}, 1, 1, 64, 40, 30}, {{9}, 16, 1, 8, 0, 5},
    {{34}, 1, 1, 256, 16},  {{20, 1}, 2, 1, 96, 17, 5},  {{29}, 3, 1, 72, 1},
};

/// Under sanitizers, which take ten times as long, the first.
std::span<const SelfAttentionCase> cases() { return std::span(kCases).first(VIBEE_SANITIZE_BUILD ? 5 : 9); }

std::string named(const SelfAttentionCase& c) {
  return fmt::format("{} documents, {} heads of {}, {} of keys, window {}, cap {}", c.lengths.size(), c.heads,
                     c.head_dim, c.kv_heads, c.window, c.soft_cap);
}

/// Of one row and head by the definition: output, log2 of the sum, and how far a float may be off.
void expect_row(const PackedDocuments& f, const SelfTrial& t, const Document& doc, uint32_t r, uint32_t h) {
  const uint32_t d = f.shape.head_dim,
                 begin = f.shape.window && r + 1 > doc.begin + f.shape.window ? r + 1 - f.shape.window : doc.begin;
  const uint64_t vector = uint64_t(r) * f.shape.heads + h;
  const auto key = [&](uint32_t p) { return (uint64_t(p) * f.shape.kv_heads + h / f.shape.group()) * d; };
  std::vector<double> scores;
  double most = -INFINITY, off = 0, largest = 0;
  for (uint32_t p = begin; p <= r; ++p) {
    double dot = 0, magnitude = 0;
    for (uint32_t i = 0; i < d; ++i) {
      const double product = double(f.q[vector * d + i]) * f.k[key(p) + i];
      dot += product, magnitude += std::fabs(product);
    }
    double s = dot * f.shape.scale;
    if (f.shape.soft_cap > 0) s = f.shape.soft_cap * std::tanh(s / f.shape.soft_cap);
    scores.push_back(s);
    most = std::max(most, s), largest = std::max(largest, std::fabs(s));
    // The chain, then roundings of a score on its way to log2; tanh is within 2 |x| + 6 units, absolutely.
    off = std::max(off, (d + 2) * magnitude * f.shape.scale);
  }
  const double tiles = (r - begin) / 32 + 2, count = r - begin + 1;
  // How far e^score is off relatively, in units: 2^f and its rounding are within 10; each later tile scales anew.
  const double units = off + 10 * largest + 6 * f.shape.soft_cap + 10 + tiles * (12 + 2 * largest);
  double sum = 0;
  for (const double s : scores) sum += std::exp(s - most);
  for (uint32_t i = 0; i < d; ++i) {
    double o = 0, magnitude = 0;
    for (uint32_t p = begin; p <= r; ++p) {
      const double part = std::exp(scores[p - begin] - most) / sum * f.v[key(p) + i];
      o += part, magnitude += std::fabs(part);
    }
    ASSERT_NEAR(t.out[vector * d + i], o, 1.01 * kUnit * magnitude * (2 * units + 2 * count + 20) + kLeastNormal);
  }
  const double log = most / M_LN2 + std::log2(sum);
  ASSERT_NEAR(t.sums[vector], log, 1.01 * kUnit * ((units + count + 10) / M_LN2 + std::fabs(log)));
}

TEST(SelfAttentionBlock, ForwardNearDouble) {
  for (const SelfAttentionCase& c : cases())
    for (const uint32_t lead : {0u, 1u}) {
      if (lead == 1 && c.head_dim % 40 != 0) continue;
      SCOPED_TRACE(named(c));
      const PackedDocuments f(c, 6);
      SelfTrial t(f, lead);
      const Status status = t.forward();
      ASSERT_TRUE(status.ok()) << status.message();
      for (const Document& doc : f.documents)
        for (uint32_t r = doc.begin; r < doc.end; ++r)
          for (uint32_t h = 0; h < c.heads; ++h) expect_row(f, t, doc, r, h);
    }
}

template <class A>
bool same(const TrialArray<float>& got, const A& want) {
  return got.size() == want.size() && std::memcmp(got.data(), want.data(), want.size() * 4) == 0;
}

TEST(SelfAttentionBlock, GradientsHaveTheBytesOfTheCpu) {
  for (const SelfAttentionCase& c : cases())
    for (const uint32_t lead : {0u, 1u}) {
      if (lead == 1 && c.head_dim % 40 != 0) continue;
      PackedDocuments f(c, 7);
      f.forward(detected_isa());
      SelfTrial t(f, lead);
      const Status status = t.backward();
      ASSERT_TRUE(status.ok()) << named(c) << ": " << status.message();
      f.backward(detected_isa());
      EXPECT_TRUE(same(t.dq, f.dq)) << named(c);
      EXPECT_TRUE(same(t.dk, f.dk)) << named(c);
      EXPECT_TRUE(same(t.dv, f.dv)) << named(c);
    }
}

TEST(SelfAttentionBlock, NeighboursChangeNoByte) {
  const uint32_t length = 41, before = 19;
  PackedDocuments packed({{before, length, 7}, 4, 2, 16, 9}, 6), alone({{length}, 4, 2, 16, 9}, 6);
  const auto cut = [&](const auto& from, auto& to) {
    const uint64_t width = to.size() / length;
    std::copy_n(&from[before * width], to.size(), &to[0]);
  };
  cut(packed.q, alone.q), cut(packed.k, alone.k), cut(packed.v, alone.v);
  SelfTrial whole(packed), one(alone);
  ASSERT_TRUE(whole.forward().ok() && one.forward().ok());
  TrialArray<float> out(one.out.size()), sums(one.sums.size());
  cut(whole.out, out), cut(whole.sums, sums);
  EXPECT_TRUE(same_bytes(out, one.out) && same_bytes(sums, one.sums));
}

TEST(SelfAttentionBlock, KeysThatEndTooEarlyAreFound) {
  PackedDocuments f({{9}, 2, 1, 16}, 6);
  f.k.pop_back();
  SelfTrial t(f);
  EXPECT_EQ(t.forward().code(), Code::invalid);
}

TEST(SelfAttentionBlock, EveryVectorAndKeyIsInOneTile) {
  const Document documents[] = {{0, 1}, {1, 1}, {1, 65}, {65, 200}};
  for (const uint32_t group : {1u, 3u})
    for (const uint32_t tile : {32u, 64u}) {
      const SelfAttentionTiles list = self_attention_tiles(documents, group, tile);
      uint32_t vectors = 0, keys = 0, before = ~0u;
      for (const SelfAttentionTile& t : list.queries) {
        EXPECT_EQ(t.first % tile, 0u);
        EXPECT_LE(t.first, before);
        before = t.first;
        vectors += std::min(tile, (t.end - t.begin) * group - t.first);
      }
      for (const SelfAttentionTile& t : list.keys) keys += std::min(tile, t.end - t.begin - t.first);
      EXPECT_EQ(vectors, 200 * group);
      EXPECT_EQ(keys, 200u);
    }
}

}  // namespace
}  // namespace vibee
