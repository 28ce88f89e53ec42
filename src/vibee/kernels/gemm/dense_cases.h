// SPDX-License-Identifier: Apache-2.0
// Dense products for the test, the check and the bench of cutlass_gemm: random problems, operands that end at pages
// nobody may touch, and the definition of gemm_problem.h in plain loops, in the order of the contract and in double.
#pragma once

#include <sys/mman.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <vector>

#include "vibee/base/math/exp2.h"
#include "vibee/base/math/half.h"
#include "vibee/base/memory/huge_buffer.h"
#include "vibee/base/random/philox.h"
#include "vibee/kernels/gemm/cutlass_gemm.h"

namespace vibee {

/// Elements that end where a page begins that faults, behind another such page.
template <class T>
class Guarded {
 public:
  explicit Guarded(uint64_t elements) : size_(elements) {
    constexpr uint64_t kPage = 4096;
    mapped_ = (elements * sizeof(T) + kPage - 1) / kPage * kPage + 2 * kPage;
    void* base = mmap(nullptr, mapped_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) throw std::bad_alloc();
    base_ = static_cast<uint8_t*>(base);
    if (mapped_ > 2 * kPage && mprotect(base_ + kPage, mapped_ - 2 * kPage, PROT_READ | PROT_WRITE) != 0)
      throw std::bad_alloc();
    data_ = reinterpret_cast<T*>(base_ + mapped_ - kPage) - elements;
  }
  Guarded(Guarded&& other) noexcept
      : size_(other.size_), mapped_(other.mapped_), base_(std::exchange(other.base_, nullptr)), data_(other.data_) {}
  Guarded& operator=(Guarded&&) = delete;
  ~Guarded() {
    if (base_) munmap(base_, mapped_);
  }
  std::span<T> span() const { return {data_, size_}; }

 private:
  uint64_t size_, mapped_ = 0;
  uint8_t* base_ = nullptr;
  T* data_ = nullptr;
};

/// What lies between rows: a value that must neither come into a result nor be overwritten.
inline const float kTrap = std::bit_cast<float>(0x7fc0deadu);

/// A problem with operands.
class DenseCase {
 public:
  DenseCase(const GemmProblem& problem, RandomStream& random, std::vector<uint32_t> groups = {})
      : problem_(*checked(problem)), groups_(std::move(groups)) {
    const GemmProblem& p = problem_;
    const uint32_t items = p.items();
    const bool none = p.grouping == GemmGroups::none;
    a_ = operand(p.a, p.a.transposed ? p.k : p.m, p.a.transposed ? p.m : p.k, none ? p.batch : 1, random);
    b_ = operand(p.b, p.b.transposed ? p.n : p.k, p.b.transposed ? p.k : p.n,
                 p.grouping == GemmGroups::depth ? 1 : items, random);
    d_items_ = p.grouping == GemmGroups::rows ? 1 : items;
    start_ = like_d(random);
    residual_ = like_d(random);
    for (uint64_t i = 0; i < uint64_t(p.n) * items; ++i) bias_.push_back(random.normal());
    if (p.packed_b) {
      panels_ = std::make_unique<PackedWeight>(gemm_panels(p));
      auto buffer = HugeBuffer::allocate(panels_->bytes() + 64);
      if (!buffer.ok()) throw std::bad_alloc();
      packed_ = std::move(*buffer);
      panels_->data = packed_.data();
    }
  }

  const GemmProblem& problem() const { return problem_; }
  uint64_t extent() const { return start_.size(); }
  /// What D is before, where a product goes on from it.
  std::span<const float> start() const { return start_; }

  struct Outputs {
    std::vector<float> d, pre, column_sum;
    bool operator==(const Outputs& o) const {
      return same(d, o.d) && same(pre, o.pre) && same(column_sum, o.column_sum);
    }
    static bool same(const std::vector<float>& a, const std::vector<float>& b) {
      return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
    }
  };
  /// Runs a plan on a team; D is what C was, where beta is not 0, and the residual itself, where there is one.
  Result<Outputs> run(Isa isa, uint32_t threads) const {
    const GemmProblem& p = problem_;
    VIBEE_ASSIGN(const GemmPlan plan, GemmPlan::make(p, threads, isa));
    VIBEE_ASSIGN(const HugeBuffer workspace, HugeBuffer::allocate(plan.workspace() + 64));
    std::memset(workspace.data(), 0xff, workspace.size());
    const bool in_place = p.epilogue.residual && p.beta == 0;
    const Guarded<float> d(extent()), pre(p.epilogue.save_pre ? extent() : 0);
    const Guarded<float> sums(p.epilogue.column_sum ? uint64_t(p.n) * p.items() : 0);
    const std::vector<float>& start = in_place ? residual_ : start_;
    std::copy(start.begin(), start.end(), d.span().begin());
    if (p.beta == 0 && !p.goes_on && !in_place)
      each_of_d([&](uint64_t at, uint32_t, uint32_t, uint32_t) { d.span()[at] = kTrap; });
    std::fill(pre.span().begin(), pre.span().end(), kTrap);
    std::fill(sums.span().begin(), sums.span().end(), kTrap);
    GemmData data = inputs();
    data.d = d.span();
    data.c = d.span();
    data.pre = pre.span();
    data.column_sum = sums.span();
    data.residual = in_place ? d.span() : std::span<const float>(residual_);
    if (p.packed_b) {
      for (uint32_t i = 0; i < panels_->experts; ++i)
        gemm_pack_panels(p, isa, data.b, i, {0, panels_->panels()},
                         packed_.data() + i * panels_->stride() * panels_->panels());
      data.packed = panels_.get();
    }
    Team team(threads);
    VIBEE_TRY(plan.run(data, team, {workspace.data(), plan.workspace()}));
    const auto copy = [](std::span<const float> s) { return std::vector<float>(s.begin(), s.end()); };
    return Outputs{copy(d.span()), copy(pre.span()), copy(sums.span())};
  }

  /// The definition. `exact` gets alpha * op(A) op(B) + beta * C in double, `terms` the sum of its terms' sizes.
  Outputs reference(std::vector<double>* exact = nullptr, std::vector<double>* terms = nullptr) const {
    const GemmProblem& p = problem_;
    const GemmEpilogue& e = p.epilogue;
    const bool in_place = e.residual && p.beta == 0;
    Outputs out{in_place ? residual_ : start_, {}, {}};
    if (e.save_pre) out.pre.assign(extent(), kTrap);
    if (e.column_sum) out.column_sum.assign(uint64_t(p.n) * p.items(), 0);
    if (exact) exact->assign(extent(), 0);
    if (terms) terms->assign(extent(), 0);
    each_of_d([&](uint64_t at, uint32_t item, uint32_t i, uint32_t j) {
      float s = p.goes_on ? start_[at] : 0;
      double sum = s, size = std::fabs(s);
      const Range depth = range(GemmGroups::depth, item, p.k);
      for (uint32_t k = depth.begin; k < depth.end && p.alpha != 0; ++k) {
        const float a = a_at(item, i, k), b = b_at(item, k, j);
        s = std::fma(a, b, s);
        sum += double(a) * b;
        size += std::fabs(double(a) * b);
      }
      float v = p.alpha * s;
      if (p.beta != 0) v = std::fma(p.beta, start_[at], v);
      if (exact) (*exact)[at] = p.alpha * sum + (p.beta != 0 ? p.beta * start_[at] : 0);
      if (terms) (*terms)[at] = std::fabs(p.alpha) * size + (p.beta != 0 ? std::fabs(p.beta * start_[at]) : 0);
      if (e.bias) v += bias_[uint64_t(item) * p.n + j];
      if (e.save_pre) out.pre[at] = v;
      if (e.activation)
        v = *e.activation == Gate::silu   ? silu_fixed(v)
            : *e.activation == Gate::gelu ? gelu_fixed(v)
                                          : gelu_tanh_fixed(v);
      if (e.residual) v += residual_[at];
      if (e.column_sum) out.column_sum[uint64_t(item) * p.n + j] += v;
      out.d[at] = v;
    });
    return out;
  }

  /// fn(place in D, item, row of op(A), column) for every element of D, rows of a column ascending.
  template <class F>
  void each_of_d(F&& fn) const {
    const GemmProblem& p = problem_;
    for (uint32_t item = 0; item < p.items(); ++item) {
      const Range rows = range(GemmGroups::rows, item, p.m);
      const uint64_t base = p.grouping == GemmGroups::rows ? 0 : item * *p.d.stride;
      for (uint32_t i = rows.begin; i < rows.end; ++i)
        for (uint32_t j = 0; j < p.n; ++j) fn(base + i * p.d.ld + j, item, i, j);
    }
  }
  GemmData inputs() const {
    GemmData data;
    data.a = a_.input();
    data.b = b_.input();
    data.bias = bias_;
    data.groups = groups_;
    return data;
  }
  float a_at(uint32_t item, uint32_t i, uint32_t k) const {
    return a_.at(problem_.a, problem_.grouping == GemmGroups::none ? item : 0, i, k);
  }
  float b_at(uint32_t item, uint32_t k, uint32_t j) const {
    return b_.at(problem_.b, problem_.grouping == GemmGroups::depth ? 0 : item, k, j);
  }

 private:
  struct Operand {
    std::unique_ptr<Guarded<float>> f32;
    std::unique_ptr<Guarded<uint16_t>> sixteen;
    Format element = Format::f32;
    GemmInput input() const {
      if (f32) return std::span<const float>(f32->span());
      return {sixteen->span().data(), sixteen->span().size(), element};
    }
    float at(const GemmLayout& l, uint32_t item, uint32_t row, uint32_t column) const {
      const uint64_t place = item * *l.stride + (l.transposed ? column * l.ld + row : row * l.ld + column);
      return f32 ? f32->span()[place] : widened(element, sixteen->span()[place]);
    }
    static float widened(Format f, uint16_t x) { return f == Format::bf16 ? bf16_to_float(x) : half_to_float(x); }
    static uint16_t rounded(Format f, float x) { return f == Format::bf16 ? float_to_bf16(x) : float_to_half(x); }
  };

  static uint64_t elements(const GemmLayout& l, uint64_t rows, uint64_t columns, uint64_t items) {
    return rows == 0 || columns == 0 || items == 0 ? 0 : (rows - 1) * l.ld + columns + (items - 1) * *l.stride;
  }
  static Operand operand(const GemmLayout& l, uint32_t rows, uint32_t columns, uint32_t items, RandomStream& random) {
    Operand out;
    out.element = l.element;
    const uint64_t size = elements(l, rows, columns, items);
    if (l.element == Format::f32) {
      out.f32 = std::make_unique<Guarded<float>>(size);
      std::fill(out.f32->span().begin(), out.f32->span().end(), kTrap);
    } else {
      out.sixteen = std::make_unique<Guarded<uint16_t>>(size);
      std::fill(out.sixteen->span().begin(), out.sixteen->span().end(), Operand::rounded(l.element, kTrap));
    }
    for (uint32_t item = 0; item < (*l.stride == 0 ? std::min(items, 1u) : items); ++item)
      for (uint32_t i = 0; i < rows; ++i)
        for (uint32_t j = 0; j < columns; ++j) {
          const uint64_t at = item * *l.stride + i * l.ld + j;
          const float x = random.normal();
          if (out.f32)
            out.f32->span()[at] = x;
          else
            out.sixteen->span()[at] = Operand::rounded(l.element, x);
        }
    return out;
  }
  std::vector<float> like_d(RandomStream& random) const {
    std::vector<float> out(elements(problem_.d, problem_.m, problem_.n, d_items_), kTrap);
    each_of_d([&](uint64_t at, uint32_t, uint32_t, uint32_t) { out[at] = random.normal(); });
    return out;
  }
  Range range(GemmGroups which, uint32_t item, uint32_t all) const {
    if (problem_.grouping != which) return {0, all};
    uint32_t begin = 0;
    for (uint32_t g = 0; g < item; ++g) begin += groups_[g];
    return {begin, begin + groups_[item]};
  }

  GemmProblem problem_;
  std::vector<uint32_t> groups_;
  Operand a_, b_;
  uint32_t d_items_ = 1;
  std::vector<float> start_, residual_, bias_;
  std::unique_ptr<PackedWeight> panels_;
  HugeBuffer packed_;
};

/// A random problem of the sizes given: transposes, elements, slack in the leading dimensions, alpha, beta, a batch or
/// groups, panels, epilogues.
inline DenseCase random_case(std::span<const uint32_t> sizes, RandomStream& random) {
  const auto one = [&] { return sizes[random.below(uint32_t(sizes.size()))]; };
  const auto coin = [&] { return random.below(2) == 0; };
  constexpr float kFactors[] = {0, 1, -0.5f};
  GemmProblem p;
  p.m = one();
  p.n = one();
  p.k = one();
  std::vector<uint32_t> groups;
  const uint32_t kind = random.below(6);
  if (kind < 2) {
    p.batch = 1 + random.below(3);
  } else if (kind < 4) {
    p.grouping = kind == 2 ? GemmGroups::rows : GemmGroups::depth;
    p.groups = 1 + random.below(4);
    uint32_t left = kind == 2 ? p.m : p.k;
    for (uint32_t g = 0; g + 1 < p.groups; ++g) {
      groups.push_back(random.below(left + 1));
      left -= groups.back();
    }
    groups.push_back(left);
  }
  p.packed_b = p.grouping != GemmGroups::depth && random.below(3) == 0;
  p.alpha = random.below(3) == 0 ? kFactors[random.below(3)] : 1;
  p.beta = random.below(3) == 0 ? kFactors[random.below(3)] : 0;
  for (GemmLayout* l : {&p.a, &p.b, &p.d}) {
    if (l != &p.d) {
      l->transposed = coin();
      if (random.below(3) == 0) l->element = coin() ? Format::bf16 : Format::f16;
    }
    const uint32_t columns = l == &p.d ? p.n : (l == &p.a) == l->transposed ? p.m : l == &p.a ? p.k : 0;
    const uint32_t width = l == &p.b ? (l->transposed ? p.k : p.n) : columns;
    if (coin()) l->ld = width + random.below(40) + (width == 0);
  }
  if (coin()) {
    p.epilogue.bias = coin();
    if (coin()) p.epilogue.activation = Gate(random.below(3));
    p.epilogue.residual = coin();
    p.epilogue.save_pre = coin();
    p.epilogue.column_sum = coin();
  }
  if (random.below(6) == 0) {
    p.goes_on = true;
    p.alpha = 1;
    p.beta = 0;
    p.epilogue.residual = false;
  }
  return {p, random, std::move(groups)};
}

}  // namespace vibee
