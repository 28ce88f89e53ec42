// SPDX-License-Identifier: Apache-2.0
// Composites of training graphs by their formulas: attention among the step's own rows, the loss, and gradients.
#include "vibee/base/math/half.h"
#include "vibee/graph/exec/interpret_ops.h"
#include "vibee/graph/exec/train_products.h"

namespace vibee {
namespace {

double derivative(std::string_view gate, double x) {
  if (gate == "silu") {
    const double s = 1 / (1 + std::exp(-x));
    return s * (1 + x * (1 - s));
  }
  if (gate == "gelu") return 0.5 * (1 + std::erf(x * M_SQRT1_2)) + x * std::exp(-0.5 * x * x) / std::sqrt(2 * M_PI);
  const double c = std::sqrt(2 / M_PI), t = std::tanh(c * (x + 0.044715 * x * x * x));
  return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * c * (1 + 3 * 0.044715 * x * x);
}

/// documents[r] is the row at which r's document begins: rows of a document stand together.
Status check_documents(const std::vector<int32_t>& documents) {
  for (size_t r = 0; r < documents.size(); ++r)
    if (documents[r] != int32_t(r) && (r == 0 || documents[r] != documents[r - 1]))
      return error(Code::invalid, "[self_attention] row {} cannot be of a document that begins at row {}", r,
                   documents[r]);
  return {};
}

template <class T>
Status self_attention(const Node& node, std::span<const TensorOf<T>* const> in, std::span<TensorOf<T>> out) {
  const AttentionAttrs a(node);
  VIBEE_TRY(check_documents(in[3]->i));
  for (int64_t r = 0; r < in[0]->rows(); ++r)
    for (int64_t h = 0; h < a.heads; ++h) {
      const auto at = size_t((r * a.heads + h) * a.d);
      out[1].f[size_t(r * a.heads + h)] =
          attend_row(a, &in[0]->f[at], in[1]->f, in[2]->f, h, a.first(in[3]->i[size_t(r)], r), r, &out[0].f[at]);
    }
  return {};
}

template <class T>
Status self_attention_dx(const Node& node, std::span<const TensorOf<T>* const> in, std::span<TensorOf<T>> out) {
  const AttentionAttrs a(node);
  const Rows<T>&q = in[0]->f, &k = in[1]->f, &v = in[2]->f, &y = in[4]->f, &sums = in[5]->f, &g = in[6]->f;
  VIBEE_TRY(check_documents(in[3]->i));
  std::vector<double> dq(q.size()), dk(k.size()), dv(v.size());
  for (int64_t r = 0; r < in[0]->rows(); ++r)
    for (int64_t h = 0; h < a.heads; ++h) {
      const auto row = size_t((r * a.heads + h) * a.d);
      const double mean = dot_of(&g[row], &y[row], a.d);
      for (int64_t p = a.first(in[3]->i[size_t(r)], r); p <= r; ++p) {
        const size_t key = a.at(p, h);
        const double score = a.score(dot_of(&q[row], &k[key], a.d));
        const double weight = std::exp2(score * M_LOG2E - double(sums[size_t(r * a.heads + h)]));
        const double by = weight * (dot_of(&g[row], &v[key], a.d) - mean) * a.slope(score);
        for (size_t i = 0; i < size_t(a.d); ++i) {
          dq[row + i] += by * double(k[key + i]);
          dk[key + i] += by * double(q[row + i]);
          dv[key + i] += weight * double(g[row + i]);
        }
      }
    }
  std::copy(dq.begin(), dq.end(), out[0].f.begin());
  std::copy(dk.begin(), dk.end(), out[1].f.begin());
  std::copy(dv.begin(), dv.end(), out[2].f.begin());
  return {};
}

/// One row of the head.
struct Logits {
  std::vector<double> x;
  double sum = 0;  ///< log of the sum of e^x
};
template <class T>
Logits logits_of(const Node& node, std::span<const TensorOf<T>* const> in, const TensorOf<T>* bias, int64_t row) {
  const int64_t n = in[1]->rows(), k = in[1]->width();
  const double cap = node.number("soft_cap");
  Logits l;
  double top = -INFINITY;
  for (int64_t j = 0; j < n; ++j) {
    double x = dot_of(&in[0]->f[size_t(row * k)], &in[1]->f[size_t(j * k)], k);
    if (bias) x += double(bias->f[size_t(j)]);
    if (cap > 0) x = cap * std::tanh(x / cap);
    l.x.push_back(x);
    top = std::max(top, x);
  }
  for (double x : l.x) l.sum += std::exp(x - top);
  l.sum = top + std::log(l.sum);
  return l;
}

template <class T>
Status cross_entropy(const Node& node, std::span<const TensorOf<T>* const> in, std::span<TensorOf<T>> out) {
  double loss = 0;
  for (int64_t r = 0; r < in[0]->rows(); ++r) {
    const int32_t target = in[2]->i[size_t(r)];
    if (target < -1 || target >= in[1]->rows())
      return error(Code::invalid, "[cross_entropy] target {} in row {} is not in -1 to {}", target, r,
                   in[1]->rows() - 1);
    if (target == -1) continue;
    const Logits l = logits_of(node, in, in.size() > 4 ? in[4] : nullptr, r);
    loss += double(in[3]->f[size_t(r)]) * (l.sum - l.x[size_t(target)]);
    out[1].f[size_t(r)] = T(l.sum);
  }
  out[0].f[0] = T(loss);
  return {};
}

/// Gradient of the loss towards the rows, or towards weight and bias.
template <class T>
Status cross_entropy_gradient(const Node& node, std::span<const TensorOf<T>* const> in, std::span<TensorOf<T>> out) {
  const size_t n = size_t(in[1]->rows()), k = size_t(in[1]->width());
  const double cap = node.number("soft_cap");
  std::vector<double> sums(out[0].f.size()), bias(n);
  for (size_t r = 0; r < size_t(in[0]->rows()); ++r) {
    const int32_t target = in[2]->i[r];
    if (target == -1) continue;
    const Logits l = logits_of(node, in, in.size() > 6 ? in[6] : nullptr, int64_t(r));
    for (size_t j = 0; j < n; ++j) {
      const double share = std::exp(l.x[j] - double(in[4]->f[r])) - (int32_t(j) == target ? 1 : 0);
      const double slope = cap > 0 ? 1 - l.x[j] / cap * (l.x[j] / cap) : 1;
      const double d = double(in[5]->f[0]) * double(in[3]->f[r]) * share * slope;
      bias[j] += d;
      const double by = is_rounded_loss(node) ? double(bf16_to_float(float_to_bf16(float(d)))) : d;
      for (size_t i = 0; i < k; ++i) {
        if (node.op == Op::cross_entropy_dx) {
          sums[r * k + i] += by * double(in[1]->f[j * k + i]);
        } else {
          sums[j * k + i] += by * double(in[0]->f[r * k + i]);
        }
      }
    }
  }
  std::copy(sums.begin(), sums.end(), out[0].f.begin());
  if (out.size() > 1) std::copy(bias.begin(), bias.end(), out[1].f.begin());
  return {};
}

/// Gradient of a norm towards its rows (`dx`) or its weight. With x^ the normed values of a group and h = g * weight,
/// that of the rows is (h - x^ mean(h x^) [- mean(h)]) / root.
template <class T>
void norm_gradient(const Rows<T>& x, const Rows<T>& weight, const Rows<T>& g, double eps, bool centred, bool dx,
                   Rows<T>* out) {
  const size_t n = weight.size();
  std::vector<double> normed(n), h(n), sums(n);
  for (size_t at = 0; at < x.size(); at += n) {
    double mean = 0, squares = 0, shift = 0, along = 0;
    for (size_t i = 0; i < n && centred; ++i) mean += double(x[at + i]) / double(n);
    for (size_t i = 0; i < n; ++i) squares += (double(x[at + i]) - mean) * (double(x[at + i]) - mean);
    const double root = std::sqrt(squares / double(n) + eps);
    for (size_t i = 0; i < n; ++i) {
      normed[i] = (double(x[at + i]) - mean) / root;
      h[i] = double(g[at + i]) * double(weight[i]);
      sums[i] += double(g[at + i]) * normed[i];
      along += h[i] * normed[i] / double(n);
      if (centred) shift += h[i] / double(n);
    }
    for (size_t i = 0; i < n && dx; ++i) (*out)[at + i] = T((h[i] - normed[i] * along - shift) / root);
  }
  if (!dx) std::copy(sums.begin(), sums.end(), out->begin());
}

/// The route's weights are a softmax over the chosen experts (`normalise`) or over all of them.
template <class T>
void moe_route_dx(const TensorOf<T>& logits, const Rows<T>& route, const Rows<T>& g, size_t k, bool normalise,
                  Rows<T>* out) {
  const auto experts = size_t(logits.width());
  for (size_t r = 0; r < size_t(logits.rows()); ++r) {
    const T *ids = &route[r * 2 * k], *weights = ids + k, *dw = &g[r * 2 * k + k], *x = &logits.f[r * experts];
    double along = 0;
    for (size_t j = 0; j < k; ++j) along += double(weights[j]) * double(dw[j]);
    T* d = &(*out)[r * experts];
    if (!normalise) {
      const double top = double(*std::max_element(x, x + experts));
      double all = 0;
      for (size_t e = 0; e < experts; ++e) all += std::exp(double(x[e]) - top);
      for (size_t e = 0; e < experts; ++e) d[e] = T(-std::exp(double(x[e]) - top) / all * along);
      for (size_t j = 0; j < k; ++j) {
        const auto e = size_t(std::llround(ids[j]));
        d[e] = T(double(d[e]) + double(weights[j]) * double(dw[j]));
      }
      continue;
    }
    for (size_t j = 0; j < k; ++j) d[std::llround(ids[j])] = T(double(weights[j]) * (double(dw[j]) - along));
  }
}

template <class T>
Status moe_gated_gradient(const Node& node, std::span<const TensorOf<T>* const> in, std::span<TensorOf<T>> out) {
  const TensorOf<T>&x = *in[0], &route = *in[1], &gate = *in[2], &up = *in[3], &g = *in[4];
  const int64_t k = route.width() / 2, f = gate.type.dims[1].n, n = gate.type.dims[2].n;
  const std::string_view kind = node.text("gate");
  std::vector<double> dx(x.f.size()), dgate(gate.f.size()), dup(up.f.size());
  for (int64_t r = 0; r < x.rows(); ++r)
    for (int64_t j = 0; j < k; ++j) {
      const auto expert = size_t(std::llround(route.f[size_t(r * 2 * k + j)]) * f * n);
      for (int64_t i = 0; i < f; ++i) {
        const size_t row = size_t(r * n), w = expert + size_t(i * n);
        const double a = dot_of(&x.f[row], &gate.f[w], n), b = dot_of(&x.f[row], &up.f[w], n);
        const auto d = double(g.f[size_t((r * k + j) * f + i)]);
        const double da = d * b * derivative(kind, a), db = d * gate_of(kind, a);
        for (size_t c = 0; c < size_t(n); ++c) {
          dx[row + c] += da * double(gate.f[w + c]) + db * double(up.f[w + c]);
          dgate[w + c] += da * double(x.f[row + c]);
          dup[w + c] += db * double(x.f[row + c]);
        }
      }
    }
  if (node.op == Op::moe_gated_dx) {
    std::copy(dx.begin(), dx.end(), out[0].f.begin());
  } else {
    std::copy(dgate.begin(), dgate.end(), out[0].f.begin());
    std::copy(dup.begin(), dup.end(), out[1].f.begin());
  }
  return {};
}

template <class T>
Status moe_down_gradient(const Node& node, std::span<const TensorOf<T>* const> in, std::span<TensorOf<T>> out) {
  const TensorOf<T>&h = *in[0], &route = *in[1], &down = *in[2], &g = *in[3];
  const int64_t k = route.width() / 2, n = down.type.dims[1].n, f = down.type.dims[2].n;
  std::vector<double> dh(h.f.size()), droute(route.f.size()), ddown(down.f.size());
  for (int64_t r = 0; r < h.rows(); ++r)
    for (int64_t j = 0; j < k; ++j) {
      const auto at = size_t(r * 2 * k + j), row = size_t((r * k + j) * f);
      const auto weight = double(route.f[at + size_t(k)]);
      const auto expert = size_t(std::llround(route.f[at]) * n * f);
      for (int64_t i = 0; i < n; ++i) {
        const size_t w = expert + size_t(i * f);
        const auto d = double(g.f[size_t(r * n + i)]);
        droute[at + size_t(k)] += d * dot_of(&h.f[row], &down.f[w], f);
        for (size_t c = 0; c < size_t(f); ++c) {
          dh[row + c] += weight * d * double(down.f[w + c]);
          ddown[w + c] += weight * d * double(h.f[row + c]);
        }
      }
    }
  if (node.op == Op::moe_down_dx) {
    std::copy(dh.begin(), dh.end(), out[0].f.begin());
    std::copy(droute.begin(), droute.end(), out[1].f.begin());
  } else {
    std::copy(ddown.begin(), ddown.end(), out[0].f.begin());
  }
  return {};
}

}  // namespace

template <class T>
Status evaluate_training(const Node& node, std::span<const TensorOf<T>* const> in, std::span<TensorOf<T>> out) {
  Rows<T>& y = out[0].f;
  const double eps = node.number("eps");
  switch (node.op) {
    case Op::self_attention: return self_attention(node, in, out);
    case Op::self_attention_dx: return self_attention_dx(node, in, out);
    case Op::cross_entropy: return cross_entropy(node, in, out);
    case Op::cross_entropy_dx:
    case Op::cross_entropy_dw: return cross_entropy_gradient(node, in, out);
    case Op::rms_norm_dx:
    case Op::rms_norm_dw:
      norm_gradient(in[0]->f, in[1]->f, in[2]->f, eps, false, node.op == Op::rms_norm_dx, &y);
      return {};
    case Op::layer_norm_dx:
    case Op::layer_norm_dw:
      norm_gradient(in[0]->f, in[1]->f, in[2]->f, eps, true, node.op == Op::layer_norm_dx, &y);
      return {};
    case Op::activation_dx:
      for (size_t i = 0; i < y.size(); ++i)
        y[i] = T(double(in[1]->f[i]) * derivative(node.text("kind"), double(in[0]->f[i])));
      return {};
    case Op::linear_dx:
      for (int64_t r = 0; r < out[0].rows(); ++r)
        for (int64_t i = 0; i < out[0].width(); ++i) {
          double sum = 0;
          for (int64_t j = 0; j < in[1]->rows(); ++j)
            sum += double(in[0]->f[size_t(r * in[0]->width() + j)]) * double(in[1]->f[size_t(j * out[0].width() + i)]);
          y[size_t(r * out[0].width() + i)] = T(sum);
        }
      return {};
    case Op::linear_dw:
      for (int64_t j = 0; j < out[0].rows(); ++j)
        for (int64_t i = 0; i < out[0].width(); ++i) {
          double sum = 0;
          for (int64_t r = 0; r < in[0]->rows(); ++r)
            sum += double(in[0]->f[size_t(r * out[0].rows() + j)]) * double(in[1]->f[size_t(r * out[0].width() + i)]);
          y[size_t(j * out[0].width() + i)] = T(sum);
        }
      return {};
    case Op::moe_route_dx:
      moe_route_dx(*in[0], in[1]->f, in[2]->f, size_t(node.integer("k")), node.integer("normalise") != 0, &y);
      return {};
    case Op::moe_gated_dx:
    case Op::moe_gated_dw: return moe_gated_gradient(node, in, out);
    case Op::moe_down_dx:
    case Op::moe_down_dw: return moe_down_gradient(node, in, out);
    default: return error(Code::unsupported, "[{}] is not a composite op", info(node.op).name);
  }
}

template Status evaluate_training(const Node&, std::span<const TensorOf<float>* const>, std::span<TensorOf<float>>);
template Status evaluate_training(const Node&, std::span<const TensorOf<double>* const>, std::span<TensorOf<double>>);

}  // namespace vibee
