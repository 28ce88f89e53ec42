// SPDX-License-Identifier: Apache-2.0
// What the interpreter's ops share. T is float, where every result is rounded once, or double, where none is.
#pragma once

#include <algorithm>
#include <cmath>

#include "vibee/graph/exec/interpret.h"
#include "vibee/kernels/gemm/panel.h"
#include "vibee/kernels/gemm/quantize_row.h"

namespace vibee {

template <class T>
using Rows = std::vector<T>;

inline double gate_of(std::string_view gate, double x) {
  if (gate == "silu") return x / (1 + std::exp(-x));
  if (gate == "gelu") return 0.5 * x * (1 + std::erf(x * M_SQRT1_2));
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

/// x[rows][k] times w[n][k] transposed.
template <class T>
Rows<T> linear(const TensorOf<T>& x, const TensorOf<T>& w) {
  const int64_t rows = x.rows(), k = x.width(), n = w.rows();
  Rows<T> y(size_t(rows * n));
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t j = 0; j < n; ++j) {
      double dot = 0;
      for (int64_t i = 0; i < k; ++i) dot += double(x.f[size_t(r * k + i)]) * w.f[size_t(j * k + i)];
      y[size_t(r * n + j)] = T(dot);
    }
  return y;
}

/// The numbers that the codes of quantised rows of `width` stand for (quantize_row); elements of at
/// least `threshold` stay as they are, unless it is 0 (kernels/gemm/outliers.h).
template <class T>
Rows<T> quantize(const Rows<T>& all, float threshold = 0, ActRule rule = ActRule::block, int64_t width = kActBlock) {
  Rows<T> y(all.size());
  const bool some_apart = threshold > 0 && act_rule_group(rule) == 0;  // rows of four bits have none
  const auto is_apart = [&](T v) { return some_apart && std::fabs(float(v)) >= threshold && std::isfinite(v); };
  std::vector<float> row(static_cast<size_t>(width));
  std::vector<uint8_t> act(act_bytes(1, uint32_t(width)));
  const ActRow codes = act_row(act.data(), 1, uint32_t(width), 0);
  for (size_t at = 0; at < all.size(); at += row.size()) {
    for (size_t i = 0; i < row.size(); ++i) row[i] = is_apart(all[at + i]) ? 0.0f : float(all[at + i]);
    quantize_row(pointwise_scalar, rule, row.data(), uint32_t(width), codes);
    for (uint32_t i = 0; i < row.size(); ++i) {
      const uint32_t b = i / kActBlock;
      y[at + i] = is_apart(all[at + i]) ? all[at + i] : T(float(codes.q(b)[i % kActBlock]) * *codes.da(b));
    }
  }
  return y;
}

/// A product whose weight is an integer format reads quantised rows, whether a quantize node stands before it or not,
/// with outliers of at least `threshold`.
template <class T>
Rows<T> product(const TensorOf<T>& x, const TensorOf<T>& w, float threshold) {
  const ActRule rule = act_rule(w.type.elem.format);
  if (rule == ActRule::floats || x.type.elem.kind == Elem::act8) return linear(x, w);
  TensorOf<T> q = x;
  q.f = quantize(x.f, threshold, rule, x.width());
  return linear(q, w);
}

template <class T>
Rows<T> gated(const Rows<T>& a, const Rows<T>& b, std::string_view gate) {
  Rows<T> y(a.size());
  for (size_t i = 0; i < y.size(); ++i) y[i] = T(gate_of(gate, a[i]) * b[i]);
  return y;
}

/// Row `row` of a matrix and expert `e` of a stack, as tensors of their own.
template <class T>
TensorOf<T> one_row(const Rows<T>& x, size_t row, size_t width) {
  return {{kF32, {Dim{1}, Dim{int64_t(width)}}},
          {1, int64_t(width)},
          Rows<T>(x.begin() + long(row * width), x.begin() + long((row + 1) * width)),
          {},
          {}};
}
template <class T>
TensorOf<T> one_expert(const TensorOf<T>& w, int64_t e) {
  const int64_t n = w.type.dims[1].n, k = w.type.dims[2].n;
  return {{w.type.elem, {Dim{n}, Dim{k}}},
          {n, k},
          Rows<T>(w.f.begin() + long(e * n * k), w.f.begin() + long((e + 1) * n * k)),
          {},
          {}};
}

struct AttentionAttrs {
  int64_t heads, kv_heads, d, window;
  bool causal;
  double scale, cap;
  explicit AttentionAttrs(const Node& node)
      : heads(node.integer("heads")),
        kv_heads(node.integer("kv_heads")),
        d(node.integer("head_dim")),
        window(node.integer("window")),
        causal(node.integer("causal", 1) != 0),
        scale(node.number("scale", 1)),
        cap(node.number("soft_cap")) {}
  /// First key that the row at key `last` sees in a document that begins at key `begin`.
  int64_t first(int64_t begin, int64_t last) const { return window > 0 ? std::max(begin, last + 1 - window) : begin; }
  /// Where key or value `p` lies for query head `h`.
  size_t at(int64_t p, int64_t h) const { return size_t((p * kv_heads + h / (heads / kv_heads)) * d); }
  /// The score of a dot product, and its derivative.
  double score(double dot) const { return cap > 0 ? cap * std::tanh(dot * scale / cap) : dot * scale; }
  double slope(double score) const { return cap > 0 ? scale * (1 - score / cap * (score / cap)) : scale; }
};

template <class T>
double dot_of(const T* a, const T* b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += double(a[i]) * double(b[i]);
  return sum;
}

/// Softmax over keys first to last of one query, times their values; gives log2 of the sum of e^score.
template <class T>
T attend_row(const AttentionAttrs& a, const T* query, const Rows<T>& k, const Rows<T>& v, int64_t head, int64_t first,
             int64_t last, T* y) {
  std::vector<double> weight;
  double top = -INFINITY, sum = 0;
  for (int64_t p = first; p <= last; ++p) {
    weight.push_back(a.score(dot_of(query, &k[a.at(p, head)], a.d)));
    top = std::max(top, weight.back());
  }
  for (double& w : weight) sum += w = std::exp(w - top);
  for (int64_t i = 0; i < a.d; ++i) {
    double mix = 0;
    for (int64_t p = first; p <= last; ++p)
      mix += weight[size_t(p - first)] / sum * double(v[a.at(p, head) + size_t(i)]);
    y[i] = T(mix);
  }
  return T((top + std::log(sum)) * M_LOG2E);
}

}  // namespace vibee
