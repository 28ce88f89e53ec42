// SPDX-License-Identifier: Apache-2.0
// Attention of a training step on matrix units, forward and backward beside the definition in double.
#include <gtest/gtest.h>

#include <cmath>

#include "vibee/kernels/attention/self_attention_cases.h"
#include "vibee/kernels/attention/self_attention_tiles.h"
#include "vibee/kit/block_trial.h"

namespace vibee {
namespace {

/// A number and how far what a kernel makes of it may be off.
struct Near {
  double value = 0, off = 0;
};
using NearArray = std::vector<Near>;

template <class T>
TrialArray<T> rounded(const std::vector<float>& from) {
  TrialArray<T> to(from.size());
  for (uint64_t i = 0; i < from.size(); ++i) to[i] = TrialType<T>::from(from[i]);
  return to;
}
TrialArray<SelfAttentionTile> on_device(const std::vector<SelfAttentionTile>& from) {
  TrialArray<SelfAttentionTile> to(from.size());
  std::copy(from.begin(), from.end(), to.data());
  return to;
}

template <class T>
struct ProductTrial {
  const PackedDocuments& f;
  uint32_t d, heads, group;
  TrialArray<T> q, k, v, g, out, dq, dk, dv;
  TrialArray<float> sums, means;
  TrialArray<SelfAttentionTile> queries, keys;
  SelfAttentionSizes sizes;

  explicit ProductTrial(const PackedDocuments& documents)
      : f(documents),
        d(f.shape.head_dim),
        heads(f.shape.heads),
        group(f.shape.group()),
        q(rounded<T>(f.q)),
        k(rounded<T>(f.k)),
        v(rounded<T>(f.v)),
        g(rounded<T>(f.g)),
        out(q.size()),
        dq(q.size()),
        dk(k.size()),
        dv(k.size()),
        sums(f.sums.size()),
        means(f.sums.size()),
        queries(on_device(self_attention_tiles(f.documents, group, kSelfProductTile).queries)),
        keys(on_device(self_attention_tiles(f.documents, group, kSelfProductTile).keys)),
        sizes{heads, f.shape.kv_heads, d, f.shape.window, f.shape.scale, f.shape.soft_cap} {}

  std::string kernel(const char* what) const {
    return fmt::format("vibee_self_attention_{}{}_{}", what, TrialType<T>::name, d <= 64 ? 64 : 128);
  }
  Status run() {
    const uint32_t kv = sizes.kv_heads, vectors = uint32_t(sums.size());
    const auto tiles = uint32_t(queries.size());
    VIBEE_TRY(
        run_kernel(kernel(""), self_attention_product_launch(tiles, kv, d, 1),
                   SelfAttentionArgs{q.data(), k.data(), v.data(), out.data(), sums.data(), queries.data(), sizes},
                   {q.memory(), k.memory(), v.memory(), queries.memory()}, {out.memory(), sums.memory()}));
    VIBEE_TRY(run_kernel(kernel("means_").substr(0, kernel("means_").rfind('_')), self_attention_means_launch(vectors),
                         SelfAttentionMeansArgs{out.data(), g.data(), means.data(), vectors, d},
                         {out.memory(), g.memory()}, {means.memory()}));
    SelfAttentionDxArgs args{q.data(),  k.data(),  v.data(),  g.data(),       sums.data(), means.data(),
                             dq.data(), dk.data(), dv.data(), queries.data(), sizes};
    const std::vector<ShimMemory> inputs = {q.memory(),    k.memory(),     v.memory(),    g.memory(),
                                            sums.memory(), means.memory(), keys.memory(), queries.memory()};
    VIBEE_TRY(run_kernel(kernel("dq_"), self_attention_product_launch(tiles, kv, d, 2), args, inputs, {dq.memory()}));
    args.tiles = keys.data();
    return run_kernel(kernel("dkv_"), self_attention_product_launch(uint32_t(keys.size()), kv, d, 2), args, inputs,
                      {dk.memory(), dv.memory()});
  }

  double at(const TrialArray<T>& x, uint64_t i) const { return TrialType<T>::value(x[i]); }

  /// A row and head by the definition; its shares of gradients are added to those of the others.
  void add_row(const Document& doc, uint32_t r, uint32_t h, NearArray& want_q, NearArray& want_k, NearArray& want_v) {
    const uint32_t begin = f.shape.window && r + 1 > doc.begin + f.shape.window ? r + 1 - f.shape.window : doc.begin;
    const uint64_t vector = uint64_t(r) * heads + h, row = vector * d;
    const auto key = [&](uint32_t p) { return (uint64_t(p) * f.shape.kv_heads + h / group) * d; };
    struct Score {
      double s, slope, slope_off, toward, toward_off;
    };
    std::vector<Score> scores;
    double most = -INFINITY, off = 0, largest = 0;
    for (uint32_t p = begin; p <= r; ++p) {
      double dot = 0, size = 0, toward = 0, toward_size = 0;
      for (uint32_t i = 0; i < d; ++i) {
        const double x = at(q, row + i) * at(k, key(p) + i), y = at(g, row + i) * at(v, key(p) + i);
        dot += x, size += std::fabs(x), toward += y, toward_size += std::fabs(y);
      }
      const double cap = f.shape.soft_cap, t = cap > 0 ? std::tanh(dot * f.shape.scale / cap) : 0;
      const double s = cap > 0 ? cap * t : dot * f.shape.scale, slope = f.shape.scale * (1 - t * t);
      const double units = (d + 2) * size * f.shape.scale;  // of the sum, on the score
      // 1 - t^2 moves by 2 |t| times what t does: by its argument's error, and 2 |x| + 6 of its own.
      const double of_t = cap > 0 ? units / cap + 2 * std::fabs(dot * f.shape.scale / cap) + 8 : 0;
      scores.push_back({s, slope, f.shape.scale * (2 * of_t + 3) * kUnit, toward, (d + 2) * toward_size * kUnit});
      most = std::max(most, s), largest = std::max(largest, std::fabs(s)), off = std::max(off, units);
    }
    const double count = r - begin + 1, tiles = count / 64 + 2;
    // As in self_attention_block_test.cc: what e^score is off relatively, then what the sum is.
    const double weight_off = kUnit * (off + 10 * largest + 6 * f.shape.soft_cap + 10 + tiles * (12 + 2 * largest));
    const double sum_off = weight_off + (count + 10) * kUnit;
    double sum = 0, mean = 0, mean_size = 0;
    for (const Score& x : scores) sum += std::exp(x.s - most);
    const double log = most / M_LN2 + std::log2(sum);
    ASSERT_NEAR(sums[vector], log, 1.01 * (sum_off / M_LN2 + kUnit * std::fabs(log)));
    for (uint32_t i = 0; i < d; ++i) {
      double o = 0, size = 0, least = 0;
      for (uint32_t p = begin; p <= r; ++p) {
        const double part = std::exp(scores[p - begin].s - most) / sum * at(v, key(p) + i);
        o += part, size += std::fabs(part);
        least += TrialType<T>::least * std::fabs(at(v, key(p) + i));
      }
      // Weights are rounded to T: half a unit each, or what the least T leaves.
      const double bound = size * (weight_off + sum_off + rounding<T>(1) + (count + 20) * kUnit) + least;
      ASSERT_NEAR(at(out, row + i), o, 1.01 * bound + rounding<T>(o)) << vector << " " << i;
      mean += at(out, row + i) * at(g, row + i), mean_size += std::fabs(at(out, row + i) * at(g, row + i));
    }
    // P again, from the log that was stored: a rounding of it counts as much as the score's.
    const double share_off = 1.01 * (weight_off + sum_off + 2 * kUnit * std::fabs(log) + 10 * kUnit);
    for (uint32_t p = begin; p <= r; ++p) {
      const Score& x = scores[p - begin];
      const double share = std::exp(x.s - most) / sum, by = x.toward - mean, ds = share * by * x.slope;
      const double by_off = x.toward_off + (d + 6) * mean_size * kUnit + kUnit * std::fabs(by);
      const double share_bound = share * (share_off + rounding<T>(1)) + TrialType<T>::least;
      const double ds_bound = 1.01 * share * (by_off * x.slope + std::fabs(by) * (x.slope_off + x.slope * share_off)) +
                              rounding<T>(ds) + 4 * kUnit * std::fabs(ds);
      const auto add = [&](Near& to, double value, double bound, double factor) {
        to.value += value * factor;
        // A rounding of the sum for every term.
        to.off += std::fabs(factor) * (bound + std::fabs(value) * (count_of(doc) + 4) * kUnit);
      };
      for (uint32_t i = 0; i < d; ++i) {
        add(want_q[row + i], ds, ds_bound, at(k, key(p) + i));
        add(want_k[key(p) + i], ds, ds_bound, at(q, row + i));
        add(want_v[key(p) + i], share, share_bound, at(g, row + i));
      }
    }
  }
  double count_of(const Document& doc) const { return double(doc.end - doc.begin) * group; }
  void expect_near(const TrialArray<T>& got, const NearArray& want, const char* what) const {
    for (uint64_t i = 0; i < want.size(); ++i)
      ASSERT_NEAR(at(got, i), want[i].value, 1.01 * want[i].off + rounding<T>(want[i].value)) << what << " " << i;
  }
};

/// Lengths beside tiles, groups of 1 to 17, windows, soft caps, head dimensions of one part and of two.
const SelfAttentionCase kCases[] = {
    {{1}, 1, 1, 8},         {{5, 1, 17}, 4, 2, 16},      {{129}, 1, 1, 32},
    {{3, 70}, 3, 1, 40, 7}, {{66, 9}, 2, 2, 64, 40, 30}, {{9}, 17, 1, 8, 0, 5},
    {{70}, 1, 1, 256, 16},  {{40, 1}, 2, 1, 96, 17, 5},  {{29}, 3, 1, 136, 1},
    {{67}, 1, 1, 128},
};

/// Every `step`-th case, and of these a third under sanitizers, which take ten times as long.
template <class T>
void expect_attention(size_t step) {
  for (size_t i = 0; i < std::size(kCases); i += step * (VIBEE_SANITIZE_BUILD ? 3 : 1)) {
    const SelfAttentionCase& c = kCases[i];
    SCOPED_TRACE(fmt::format("{} documents, {} heads of {}, window {}, cap {}", c.lengths.size(), c.heads, c.head_dim,
                             c.window, c.soft_cap));
    const PackedDocuments f(c, 8);
    ProductTrial<T> t(f);
    const Status status = t.run();
    ASSERT_TRUE(status.ok()) << status.message();
    NearArray dq(f.q.size()), dk(f.k.size()), dv(f.k.size());
    for (const Document& doc : f.documents)
      for (uint32_t r = doc.begin; r < doc.end; ++r)
        for (uint32_t h = 0; h < c.heads; ++h) t.add_row(doc, r, h, dq, dk, dv);
    t.expect_near(t.dq, dq, "dq");
    t.expect_near(t.dk, dk, "dk");
    t.expect_near(t.dv, dv, "dv");
  }
}
TEST(SelfAttentionProductBlock, NearDoubleInBf16) { expect_attention<Bf16>(1); }
TEST(SelfAttentionProductBlock, NearDoubleInF16) { expect_attention<Half>(3); }

TEST(SelfAttentionProductBlock, KeysThatEndTooEarlyAreFound) {
  PackedDocuments f({{9}, 2, 1, 16}, 6);
  f.k.pop_back();
  ProductTrial<Bf16> t(f);
  EXPECT_EQ(t.run().code(), Code::invalid);
}

}  // namespace
}  // namespace vibee
