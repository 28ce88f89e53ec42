// SPDX-License-Identifier: Apache-2.0
// U by one factor and one inverse: with J the reversal of order and J H J = L L^T, H = (J L J)(J L J)^T, and U is the
// inverse of J L J, J L^-1 J. Both go in blocks whose products are GemmPlan's.
#include <algorithm>
#include <cmath>

#include "vibee/compress/quantize/gptq.h"

namespace vibee {
namespace {

constexpr uint32_t kBlock = 64;
constexpr int kMostTries = 10;

struct Product {
  Team& team;
  Isa isa;
  std::vector<uint8_t> memory = {};
  /// D [m, n] = alpha A [m, k] op(B) + beta D, all with rows of `ld` elements.
  void operator()(uint32_t m, uint32_t n, uint32_t k, const float* a, const float* b, bool transposed, float alpha,
                  float beta, float* d, uint64_t ld) {
    if (m == 0 || n == 0 || k == 0) return;
    GemmProblem p;
    p.m = m, p.n = n, p.k = k;
    p.alpha = alpha, p.beta = beta;
    p.a.ld = p.b.ld = p.d.ld = ld;
    p.b.transposed = transposed;
    auto plan = GemmPlan::make(p, team.size(), isa);
    VIBEE_CHECK(plan.ok(), "{}", plan.status().message());
    memory.resize(std::max<uint64_t>(memory.size(), plan->workspace() + 64));
    uint8_t* const aligned = memory.data() + (64 - uintptr_t(memory.data()) % 64) % 64;
    const uint64_t b_rows = transposed ? n : k, b_columns = transposed ? k : n;
    GemmData data;
    data.a = GemmInput(a, (m - 1) * ld + k, Format::f32);
    data.b = GemmInput(b, (b_rows - 1) * ld + b_columns, Format::f32);
    data.d = {d, (m - 1) * ld + n};
    if (beta != 0) data.c = data.d;
    const Status status = plan->run(data, team, {aligned, plan->workspace()});
    VIBEE_CHECK(status.ok(), "{}", status.message());
  }
};

/// L of a block of rows that are `ld` apart, in place; false where it has none.
bool factor_small(float* a, uint32_t n, uint64_t ld) {
  for (uint32_t j = 0; j < n; ++j) {
    double pivot = a[j * ld + j];
    for (uint32_t i = 0; i < j; ++i) pivot -= double(a[j * ld + i]) * a[j * ld + i];
    if (!(pivot > 0)) return false;
    const double root = std::sqrt(pivot);
    a[j * ld + j] = float(root);
    for (uint32_t r = j + 1; r < n; ++r) {
      double v = a[r * ld + j];
      for (uint32_t i = 0; i < j; ++i) v -= double(a[r * ld + i]) * a[j * ld + i];
      a[r * ld + j] = float(v / root);
    }
  }
  return true;
}

/// The inverse of a lower triangle; `out` [n, n] dense.
void invert_small(const float* a, uint32_t n, uint64_t ld, float* out, uint64_t out_ld) {
  for (uint32_t r = 0; r < n; ++r)
    for (uint32_t c = 0; c < n; ++c) {
      double v = r == c ? 1 : 0;
      for (uint32_t i = c; i < r; ++i) v -= double(a[r * ld + i]) * out[i * out_ld + c];
      out[r * out_ld + c] = c > r ? 0.0f : float(v / a[r * ld + r]);
    }
}

/// L of a [k, k] in its lower triangle, and in `inverses` [blocks][kBlock rows of k] those of its diagonal blocks.
bool factor(float* a, uint32_t k, Product& product, std::vector<float>* inverses, std::vector<float>* panel) {
  inverses->assign(uint64_t(kBlock) * k, 0);
  panel->resize(uint64_t(k) * k);
  for (uint32_t at = 0; at < k; at += kBlock) {
    const uint32_t n = std::min(kBlock, k - at), rest = k - at - n;
    float* const diagonal = a + uint64_t(at) * k + at;
    if (!factor_small(diagonal, n, k)) return false;
    invert_small(diagonal, n, k, inverses->data() + at, k);
    float* const below = diagonal + uint64_t(n) * k;
    product(rest, n, n, below, inverses->data() + at, true, 1, 0, panel->data(), k);
    for (uint32_t r = 0; r < rest; ++r) std::copy_n(panel->data() + uint64_t(r) * k, n, below + uint64_t(r) * k);
    product(rest, rest, n, panel->data(), panel->data(), true, -1, 1, below + n, k);
  }
  return true;
}

}  // namespace

Result<GptqFactor> GptqFactor::make(std::vector<float> h, uint32_t k, double damping, Team& team, Isa isa) {
  VIBEE_CHECK(h.size() == uint64_t(k) * k, "{} of {}", h.size(), k);
  GptqFactor out;
  out.k_ = k;
  out.dead_.resize(k);
  double mean = 0;
  for (uint32_t j = 0; j < k; ++j) {
    const float d = h[uint64_t(j) * k + j];
    if (!std::isfinite(d)) return error(Code::invalid, "the inputs of column {} are not finite", j);
    mean += double(d) / k;
    out.dead_[j] = !(d > 0);
  }
  Product product{team, isa};
  std::vector<float> lower(h.size()), inverses, panel;
  for (int tries = 0;; ++tries, damping *= 2) {
    if (tries == kMostTries)
      return error(Code::invalid, "the {} x {} sums of products of inputs have no Cholesky factor, damped or not", k,
                   k);
    for (uint64_t i = 0; i < h.size(); ++i) lower[h.size() - 1 - i] = h[i];
    for (uint32_t j = 0; j < k; ++j) {
      float& d = lower[uint64_t(k - 1 - j) * (k + 1)];
      d = out.dead_[j] ? float(mean > 0 ? mean : 1) : float(double(d) + damping * mean);
    }
    if (factor(lower.data(), k, product, &inverses, &panel)) break;
  }
  // L^-1 by blocks of rows: X_I = -(L_II)^-1 (L_I,<I X_<I), and (L_II)^-1 on the diagonal.
  std::vector<float>& inverse = h;
  std::fill(inverse.begin(), inverse.end(), 0.0f);
  for (uint32_t at = 0; at < k; at += kBlock) {
    const uint32_t n = std::min(kBlock, k - at);
    float* const row = inverse.data() + uint64_t(at) * k;
    product(n, at, at, lower.data() + uint64_t(at) * k, inverse.data(), false, 1, 0, panel.data(), k);
    product(n, at, n, inverses.data() + at, panel.data(), false, -1, 0, row, k);
    for (uint32_t r = 0; r < n; ++r)
      std::copy_n(inverses.data() + uint64_t(r) * k + at, r + 1, row + uint64_t(r) * k + at);
  }
  out.upper_ = std::move(lower);
  for (uint64_t i = 0; i < inverse.size(); ++i) out.upper_[inverse.size() - 1 - i] = inverse[i];
  return out;
}

double hessian_loss(std::span<const float> differences, std::span<const float> h, uint32_t k) {
  double sum = 0;
  std::vector<double> product(k);
  for (uint64_t at = 0; at < differences.size(); at += k) {
    std::fill(product.begin(), product.end(), 0.0);
    for (uint32_t i = 0; i < k; ++i) {
      const double d = differences[at + i];
      for (uint32_t j = 0; j < k; ++j) product[j] += d * h[uint64_t(i) * k + j];
    }
    for (uint32_t j = 0; j < k; ++j) sum += product[j] * differences[at + j];
  }
  return sum;
}

Status SortedInputs::check(std::span<const float> h, uint32_t k) {
  VIBEE_CHECK(h.size() == uint64_t(k) * k, "{} of {}", h.size(), k);
  for (uint32_t j = 0; j < k; ++j)
    if (!std::isfinite(h[uint64_t(j) * (k + 1)]))
      return error(Code::invalid, "the inputs of column {} are not finite", j);
  return {};
}

Result<SortedInputs> SortedInputs::make(std::span<const float> h, std::vector<uint32_t> order, double damping,
                                        Team& team, Isa isa) {
  const auto k = uint32_t(order.size());
  VIBEE_TRY(check(h, k));
  SortedInputs out;
  out.order_ = std::move(order);
  std::vector<float> sorted(h.size());
  for (uint32_t i = 0; i < k; ++i)
    for (uint32_t j = 0; j < k; ++j) sorted[uint64_t(i) * k + j] = h[uint64_t(out.order_[i]) * k + out.order_[j]];
  VIBEE_ASSIGN(out.factor_, GptqFactor::make(std::move(sorted), k, damping, team, isa));
  return out;
}

std::vector<float> SortedInputs::sort(std::span<const float> rows) const {
  const size_t k = order_.size();
  std::vector<float> out(rows.size());
  for (size_t at = 0; at < rows.size(); at += k)
    for (size_t j = 0; j < k; ++j) out[at + j] = rows[at + order_[j]];
  return out;
}

}  // namespace vibee
