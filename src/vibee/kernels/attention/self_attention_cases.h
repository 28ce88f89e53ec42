// SPDX-License-Identifier: Apache-2.0
// Made-up packed documents and the gradients of their attention by the definition in double: what the tests and the
// check of the backward pass run on.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "vibee/base/random/philox.h"
#include "vibee/kernels/attention/self_attention.h"

namespace vibee {

struct SelfAttentionCase {
  std::vector<uint32_t> lengths;  ///< of documents
  uint32_t heads, kv_heads, head_dim, window = 0;
  float soft_cap = 0;
};

/// Lengths around the block of the backward pass (64) and the page (16), groups of 1 to 16, windows, soft caps.
inline std::vector<SelfAttentionCase> self_attention_cases() {
  return {{{1}, 1, 1, 8},         {{5, 1, 17}, 4, 2, 16}, {{63, 64, 2}, 2, 2, 24},
          {{65}, 9, 3, 32},       {{3, 70}, 3, 1, 40, 7}, {{130, 9}, 4, 4, 64, 66, 30},
          {{33}, 16, 1, 8, 0, 5}, {{40}, 2, 1, 256, 16},  {{300}, 2, 1, 16}};
}

struct PackedDocuments {
  AttentionShape shape;
  std::vector<Document> documents;
  std::vector<float> q, k, v, out, sums, g, dq, dk, dv;

  PackedDocuments(const SelfAttentionCase& c, uint64_t seed) {
    shape = {c.heads, c.kv_heads, c.head_dim, 1 / std::sqrt(float(c.head_dim)), c.soft_cap, c.window};
    uint32_t rows = 0;
    for (uint32_t n : c.lengths) documents.push_back({rows, rows + n}), rows += n;
    RandomStream random(seed, Purpose::test, rows * 131 + c.head_dim);
    q.resize(size_t(rows) * c.heads * c.head_dim);
    k.resize(size_t(rows) * c.kv_heads * c.head_dim);
    v.resize(k.size()), g.resize(q.size());
    for (auto* x : {&q, &k, &v, &g})
      for (float& f : *x) f = random.normal();
    out.resize(q.size()), sums.resize(size_t(rows) * c.heads);
    dq.assign(q.size(), NAN), dk.assign(k.size(), NAN), dv.assign(k.size(), NAN);
  }
  /// f(item, scratch), each item in so many parts, the last one first.
  template <class F>
  void each_item(uint32_t parts, F&& f) {
    uint32_t longest = 0;
    for (const Document& d : documents) longest = std::max(longest, d.end - d.begin);
    std::vector<uint8_t> scratch(self_attention_scratch(shape, longest), 0xff);  // NaN wherever nothing was written
    for (const Document& d : documents)
      for (uint32_t h = 0; h < shape.kv_heads; ++h)
        for (uint32_t part = parts; part-- > 0;) f(AttentionItem{d, h, part, parts}, scratch.data());
  }
  void forward(Isa isa, uint32_t parts = 1) {
    each_item(parts, [&](const AttentionItem& item, uint8_t* scratch) {
      self_attention(attention_kernel(KvFormat::f32, isa), shape,
                     {q.data(), k.data(), v.data(), out.data(), sums.data()}, item, scratch);
    });
  }
  void backward(Isa isa, uint32_t parts = 1) {
    each_item(parts, [&](const AttentionItem& item, uint8_t* scratch) {
      self_attention_backward(isa)(
          shape, {q.data(), k.data(), v.data(), out.data(), sums.data(), g.data(), dq.data(), dk.data(), dv.data()},
          item, scratch);
    });
  }

  /// Largest difference of a gradient to the definition, relative to the largest gradient of its kind or to 1.
  double worst_error() const {
    const uint32_t d = shape.head_dim;
    std::vector<double> want_q(q.size()), want_k(k.size()), want_v(v.size());
    for (const Document& doc : documents)
      for (uint32_t r = doc.begin; r < doc.end; ++r)
        for (uint32_t h = 0; h < shape.heads; ++h) {
          const uint32_t first = shape.window && r + 1 > doc.begin + shape.window ? r + 1 - shape.window : doc.begin;
          const size_t row = (size_t(r) * shape.heads + h) * d;
          const auto at = [&](uint32_t p) { return (size_t(p) * shape.kv_heads + h / shape.group()) * d; };
          std::vector<double> weight, slope, toward;
          double sum = 0, mean = 0;
          for (uint32_t p = first; p <= r; ++p) {
            double dot = 0, dp = 0;
            for (uint32_t i = 0; i < d; ++i) {
              dot += double(q[row + i]) * k[at(p) + i];
              dp += double(g[row + i]) * v[at(p) + i];
            }
            const double t = shape.soft_cap > 0 ? std::tanh(dot * shape.scale / shape.soft_cap) : 0;
            weight.push_back(std::exp(shape.soft_cap > 0 ? shape.soft_cap * t : dot * shape.scale));
            slope.push_back(shape.scale * (1 - t * t));
            toward.push_back(dp);
            sum += weight.back();
          }
          for (size_t p = 0; p < weight.size(); ++p) mean += weight[p] / sum * toward[p];
          for (size_t p = 0; p < weight.size(); ++p) {
            const double share = weight[p] / sum, by = share * (toward[p] - mean) * slope[p];
            const size_t key = at(first + uint32_t(p));
            for (uint32_t i = 0; i < d; ++i) {
              want_q[row + i] += by * k[key + i];
              want_k[key + i] += by * q[row + i];
              want_v[key + i] += share * g[row + i];
            }
          }
        }
    return std::max({difference(dq, want_q), difference(dk, want_k), difference(dv, want_v)});
  }

 private:
  static double difference(const std::vector<float>& got, const std::vector<double>& want) {
    double size = 1, worst = 0;
    for (size_t i = 0; i < want.size(); ++i) {
      const double off = std::fabs(double(got[i]) - want[i]);
      size = std::max(size, std::fabs(want[i]));
      worst = off <= worst ? worst : off;  // a NaN counts as worst
    }
    return worst / size;
  }
};

}  // namespace vibee
