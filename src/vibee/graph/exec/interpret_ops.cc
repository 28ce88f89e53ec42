// SPDX-License-Identifier: Apache-2.0
// Composite ops by their formulas, lowered ops by the composites they stand for.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "vibee/graph/exec/interpret_ops.h"
#include "vibee/graph/ir/rope_frequencies.h"

namespace vibee {
namespace {

/// Groups of the weight's length, each divided by its root mean square.
template <class T>
Rows<T> rms_norm(const Rows<T>& x, const Rows<T>& weight, double eps) {
  Rows<T> y(x.size());
  const size_t n = weight.size();
  for (size_t at = 0; at < x.size(); at += n) {
    double squares = 0;
    for (size_t i = 0; i < n; ++i) squares += double(x[at + i]) * x[at + i];
    for (size_t i = 0; i < n; ++i) y[at + i] = T(x[at + i] / std::sqrt(squares / double(n) + eps) * weight[i]);
  }
  return y;
}

/// Columns of rows in the order that a vector of their width says.
template <class T>
Result<Rows<T>> permuted(const Rows<T>& x, const Rows<T>& order) {
  Rows<T> y(x.size());
  const size_t width = order.size();
  for (size_t i = 0; i < width; ++i) {
    if (!(order[i] >= 0 && double(order[i]) < double(width)))
      return error(Code::invalid, "column {} of {} in an order", double(order[i]), width);
    for (size_t at = 0; at < x.size(); at += width) y[at + i] = x[at + size_t(order[i])];
  }
  return y;
}

/// Rotates each head of each row by the row's table: cos[pairs], then sin[pairs]; `inverse`: the other way round.
template <class T>
Rows<T> rope(const Rows<T>& x, int64_t width, const TensorOf<T>& table, int64_t head_dim, bool split,
             bool inverse = false) {
  Rows<T> y = x;
  const int64_t pairs = table.width() / 2;
  for (int64_t r = 0; r < table.rows(); ++r)
    for (int64_t head = 0; head < width; head += head_dim)
      for (int64_t i = 0; i < pairs; ++i) {
        const double c = table.f[size_t(r * 2 * pairs + i)], turn = table.f[size_t(r * 2 * pairs + pairs + i)],
                     s = inverse ? -turn : turn;
        const auto one = size_t(r * width + head + (split ? i : 2 * i));
        const size_t two = split ? one + size_t(pairs) : one + 1;
        y[one] = T(x[one] * c - x[two] * s);
        y[two] = T(x[one] * s + x[two] * c);
      }
  return y;
}

template <class T>
void append(const Node& node, const TensorOf<T>& state, const Rows<T>& k, const Rows<T>& v, TensorOf<T>* out) {
  const auto layer = size_t(node.integer("layer"));
  out->kv = state.kv;
  if (out->kv.size() <= layer) out->kv.resize(layer + 1);
  out->kv[layer].k.insert(out->kv[layer].k.end(), k.begin(), k.end());
  out->kv[layer].v.insert(out->kv[layer].v.end(), v.begin(), v.end());
}

/// Row r of n stands at the end of the state less n - 1 - r.
template <class T>
Status attention(const Node& node, const TensorOf<T>& q, const TensorOf<T>& state, Rows<T>* y) {
  const AttentionAttrs a(node);
  const auto layer = size_t(node.integer("layer"));
  const int64_t rows = q.rows();
  const int64_t keys = layer < state.kv.size() ? int64_t(state.kv[layer].k.size()) / (a.kv_heads * a.d) : 0;
  if (keys < rows)
    return error(Code::invalid, "[attention] layer {} holds {} keys, fewer than the {} rows", layer, keys, rows);
  const LayerKvOf<T>& kv = state.kv[layer];
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t h = 0; h < a.heads; ++h) {
      const int64_t last = a.causal ? keys - rows + r : keys - 1;
      attend_row(a, &q.f[size_t((r * a.heads + h) * a.d)], kv.k, kv.v, h, a.first(0, last), last,
                 &(*y)[size_t((r * a.heads + h) * a.d)]);
    }
  return {};
}

/// One row of all rows.
template <class T>
Rows<T> pool_rows(const TensorOf<T>& x, Pooling pooling) {
  const auto rows = size_t(x.rows()), n = size_t(x.width());
  const size_t kept = pooling == Pooling::last ? rows - 1 : 0;
  Rows<T> y(x.f.begin() + long(kept * n), x.f.begin() + long((kept + 1) * n));
  for (size_t i = 0; i < n; ++i) {
    double sum = 0;
    for (size_t r = 0; r < rows; ++r) {
      sum += x.f[r * n + i];
      if (pooling == Pooling::max) y[i] = std::max(y[i], x.f[r * n + i]);
    }
    if (pooling == Pooling::mean) y[i] = T(sum / double(rows));
  }
  return y;
}

template <class T>
void rope_table(const Node& node, std::span<const TensorOf<T>* const> in, Rows<T>* y) {
  const TensorOf<T>& positions = *in[0];
  const int64_t dims = node.integer("dims"), pairs = dims / 2;
  std::vector<float> factors;
  if (in.size() > 1) factors.assign(in[1]->f.begin(), in[1]->f.end());
  const std::vector<double> turn = rope_frequencies(node, factors);
  const double scale = node.number("scale", 1);
  for (size_t r = 0; r < positions.i.size(); ++r)
    for (int64_t i = 0; i < pairs; ++i) {
      (*y)[r * size_t(dims) + size_t(i)] = T(scale * std::cos(positions.i[r] * turn[size_t(i)]));
      (*y)[r * size_t(dims) + size_t(pairs + i)] = T(scale * std::sin(positions.i[r] * turn[size_t(i)]));
    }
}

template <class T>
Rows<T> layer_norm(const TensorOf<T>& x, const Rows<T>& weight, const Rows<T>& bias, double eps) {
  Rows<T> y(x.f.size());
  const size_t n = weight.size();
  for (size_t at = 0; at < y.size(); at += n) {
    double mean = 0, squares = 0;
    for (size_t i = 0; i < n; ++i) mean += x.f[at + i] / double(n);
    for (size_t i = 0; i < n; ++i) squares += (x.f[at + i] - mean) * (x.f[at + i] - mean);
    for (size_t i = 0; i < n; ++i)
      y[at + i] = T((x.f[at + i] - mean) / std::sqrt(squares / double(n) + eps) * weight[i] + bias[i]);
  }
  return y;
}

/// The k likeliest experts of each row, likeliest first and lower ids among equals, and their softmax weights, which
/// `normalise` makes sum to one.
template <class T>
Rows<T> moe_route(const Rows<T>& logits, int64_t experts, int64_t k, bool normalise) {
  const size_t rows = logits.size() / size_t(experts), n = size_t(k);
  Rows<T> y(rows * 2 * n);
  for (size_t r = 0; r < rows; ++r) {
    const T* x = &logits[r * size_t(experts)];
    std::vector<int64_t> order(static_cast<size_t>(experts));
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return x[a] > x[b]; });
    double all = 0, chosen = 0;
    for (int64_t e = 0; e < experts; ++e) all += std::exp(double(x[e]) - x[order[0]]);
    for (size_t j = 0; j < n; ++j) chosen += std::exp(double(x[order[j]]) - x[order[0]]);
    for (size_t j = 0; j < n; ++j) {
      y[r * 2 * n + j] = T(order[j]);
      y[r * 2 * n + n + j] = T(std::exp(double(x[order[j]]) - x[order[0]]) / (normalise ? chosen : all));
    }
  }
  return y;
}

template <class T>
Rows<T> moe_gated(const TensorOf<T>& x, const TensorOf<T>& route, const TensorOf<T>& gate, const TensorOf<T>& up,
                  std::string_view kind, float threshold) {
  Rows<T> y;
  const int64_t k = route.width() / 2;
  for (int64_t r = 0; r < x.rows(); ++r)
    for (int64_t j = 0; j < k; ++j) {
      const int64_t e = std::llround(route.f[size_t(r * 2 * k + j)]);
      const TensorOf<T> row = one_row(x.f, size_t(r), size_t(x.width()));
      const Rows<T> h =
          gated(product(row, one_expert(gate, e), threshold), product(row, one_expert(up, e), threshold), kind);
      y.insert(y.end(), h.begin(), h.end());
    }
  return y;
}

template <class T>
Rows<T> moe_down(const TensorOf<T>& h, const TensorOf<T>& route, const TensorOf<T>& down, float threshold) {
  const int64_t k = route.width() / 2, n = down.type.dims[1].n;
  Rows<T> y(size_t(h.rows() * n));
  for (int64_t r = 0; r < h.rows(); ++r)
    for (int64_t j = 0; j < k; ++j) {
      const TensorOf<T> row = one_row(h.f, size_t(r * k + j), size_t(h.width() / k));
      const Rows<T> out = product(row, one_expert(down, std::llround(route.f[size_t(r * 2 * k + j)])), threshold);
      for (int64_t i = 0; i < n; ++i) y[size_t(r * n + i)] += out[size_t(i)] * route.f[size_t(r * 2 * k + k + j)];
    }
  return y;
}

}  // namespace

template <class T>
Status evaluate_lora(const Node& node, std::span<const TensorOf<T>* const> in, std::span<const LoraWeights> adapter,
                     float threshold, TensorOf<T>* out) {
  const auto target = size_t(node.integer("target"));
  const LoraWeights w = target < adapter.size() ? adapter[target] : LoraWeights{};
  const auto width = size_t(out->width());
  if (node.op == Op::lora_down) {
    if (w.rank > width) return error(Code::invalid, "[lora_down] rank {} of the adapter exceeds {}", w.rank, width);
    const auto k = size_t(in[0]->width());
    for (size_t r = 0; r < size_t(out->rows()); ++r)
      for (size_t j = 0; j < w.rank; ++j) {
        double sum = 0;
        for (size_t i = 0; i < k; ++i) sum += double(in[0]->f[r * k + i]) * double(w.a[j * k + i]);
        out->f[r * width + j] = T(sum * double(w.scale));
      }
    return {};
  }
  out->f = node.op == Op::linear_lora ? product(*in[0], *in[1], threshold) : in[0]->f;
  const TensorOf<T>& h = *in.back();
  for (size_t r = 0; r < size_t(out->rows()); ++r)
    for (size_t c = 0; c < width && w.rank; ++c) {
      double sum = 0;
      for (size_t j = 0; j < w.rank; ++j) sum += double(h.f[r * size_t(h.width()) + j]) * double(w.b[j * width + c]);
      out->f[r * width + c] += T(sum);
    }
  return {};
}

template <class T>
Status evaluate_composite(const Node& node, std::span<const TensorOf<T>* const> in,
                          std::span<const int32_t> logits_rows, float threshold, std::span<TensorOf<T>> out) {
  Rows<T>& y = out[0].f;
  const bool quantized = node.integer("quantized") != 0, split = node.text("pairs") == "split";
  switch (node.op) {
    case Op::embed:
      for (int64_t r = 0; r < out[0].rows(); ++r) {
        const int64_t token = in[0]->i[size_t(r)], width = out[0].width();
        if (token < 0 || token >= in[1]->rows())
          return error(Code::invalid, "[embed] token {} in row {} is not in 0 to {}", token, r, in[1]->rows() - 1);
        for (int64_t i = 0; i < width; ++i)
          y[size_t(r * width + i)] = T(in[1]->f[size_t(token * width + i)] * node.number("scale", 1));
      }
      return {};
    case Op::rms_norm: y = rms_norm(in[0]->f, in[1]->f, node.number("eps")); return {};
    case Op::softmax:
      for (int64_t r = 0; r < out[0].rows(); ++r) {
        const T* x = &in[0]->f[size_t(r * out[0].width())];
        double top = -INFINITY, sum = 0;
        for (int64_t i = 0; i < out[0].width(); ++i) top = std::max(top, double(x[i]));
        for (int64_t i = 0; i < out[0].width(); ++i) sum += std::exp(x[i] - top);
        for (int64_t i = 0; i < out[0].width(); ++i) y[size_t(r * out[0].width() + i)] = T(std::exp(x[i] - top) / sum);
      }
      return {};
    case Op::layer_norm: y = layer_norm(*in[0], in[1]->f, in[2]->f, node.number("eps")); return {};
    case Op::activation:
      for (size_t i = 0; i < y.size(); ++i) y[i] = T(gate_of(node.text("kind"), in[0]->f[i]));
      return {};
    case Op::moe_route:
      y = moe_route(product(*in[0], *in[1], threshold), in[1]->rows(), node.integer("k"),
                    node.integer("normalise") != 0);
      return {};
    case Op::moe_gated: y = moe_gated(*in[0], *in[1], *in[2], *in[3], node.text("gate"), threshold); return {};
    case Op::moe_down: y = moe_down(*in[0], *in[1], *in[2], threshold); return {};
    case Op::gated: y = gated(in[0]->f, in[1]->f, node.text("gate")); return {};
    case Op::soft_cap:
      for (size_t i = 0; i < y.size(); ++i) y[i] = T(node.number("cap") * std::tanh(in[0]->f[i] / node.number("cap")));
      return {};
    case Op::scale:
      for (size_t i = 0; i < y.size(); ++i) y[i] = T(in[0]->f[i] * node.number("by", 1));
      return {};
    case Op::linear: y = product(*in[0], *in[1], threshold); return {};
    case Op::rope_table: rope_table(node, in, &y); return {};
    case Op::rope:
      y = rope(in[0]->f, in[0]->width(), *in[1], node.integer("head_dim"), split, node.integer("inverse") != 0);
      return {};
    case Op::kv_append: append(node, *in[0], in[1]->f, in[2]->f, &out[0]); return {};
    case Op::attention: {
      VIBEE_TRY(attention(node, *in[0], *in[1], &y));
      if (quantized) y = quantize(y, threshold);
      return {};
    }
    case Op::take_rows:
      for (size_t r = 0; r < logits_rows.size(); ++r)
        for (int64_t i = 0; i < out[0].width(); ++i)
          y[r * size_t(out[0].width()) + size_t(i)] = in[0]->f[size_t(logits_rows[r] * out[0].width() + i)];
      return {};
    case Op::pool_rows:
      if (out[0].rows() != 1)
        return error(Code::invalid, "[pool_rows] gives one row a sequence, {} are wanted", out[0].rows());
      y = pool_rows(*in[0], *find_pooling(node.text("kind")));
      return {};
    case Op::quantize:
    case Op::norm_quantize: {
      Rows<T> x = node.op == Op::quantize ? in[0]->f : rms_norm(in[0]->f, in[1]->f, node.number("eps"));
      if (const size_t order = node.op == Op::quantize ? 1 : 2; in.size() > order) {
        VIBEE_ASSIGN(x, permuted(x, in[order]->f));
      }
      y = quantize(x, threshold, out[0].type.elem.rule, in[0]->width());
      return {};
    }
    case Op::linear_add:
      y = product(*in[0], *in[1], threshold);
      for (size_t i = 0; i < y.size(); ++i) y[i] = in[2]->f[i] + y[i];
      return {};
    case Op::linear_gated:
      y = gated(product(*in[0], *in[1], threshold), product(*in[0], *in[2], threshold), node.text("gate"));
      if (quantized) y = quantize(y, threshold);
      return {};
    case Op::linear_qkv: {
      for (size_t i = 0; i < 3; ++i) {
        out[i].f = product(*in[0], *in[1 + i], threshold);
        if (i == 2) break;  // values are neither normed nor turned
        if (in.size() == 8) out[i].f = rms_norm(out[i].f, in[6 + i]->f, node.number("eps"));
        out[i].f = rope(out[i].f, out[i].width(), *in[4], node.integer("head_dim"), split);
      }
      append(node, *in[5], out[1].f, out[2].f, &out[3]);
      return {};
    }
    default: return evaluate_training(node, in, out);
  }
}

#define VIBEE_INTERPRET(T)                                                                                             \
  template Status evaluate_lora(const Node&, std::span<const TensorOf<T>* const>, std::span<const LoraWeights>, float, \
                                TensorOf<T>*);                                                                         \
  template Status evaluate_composite(const Node&, std::span<const TensorOf<T>* const>, std::span<const int32_t>,       \
                                     float, std::span<TensorOf<T>>);
VIBEE_INTERPRET(float)
VIBEE_INTERPRET(double)
#undef VIBEE_INTERPRET

}  // namespace vibee
