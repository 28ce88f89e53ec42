// SPDX-License-Identifier: Apache-2.0
// Products for the test and the check of cublas_optimization: by rows, with a reference that is by rows as well and
// knows nothing of the library. Operands are multiples of 1/8 below 2, so that sums are exact in double: what has no
// gelu comes out exactly, a gelu within one rounding of D's type.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "vibee/base/math/half.h"
#include "vibee/base/random/philox.h"
#include "vibee/kernels/gemm/cublas_optimization.h"

namespace vibee {

inline constexpr CublasEpilogue kCublasEpilogues[] = {
    CublasEpilogue::none,     CublasEpilogue::bias,          CublasEpilogue::relu,    CublasEpilogue::relu_bias,
    CublasEpilogue::relu_aux, CublasEpilogue::relu_aux_bias, CublasEpilogue::gelu,    CublasEpilogue::gelu_bias,
    CublasEpilogue::gelu_aux, CublasEpilogue::gelu_aux_bias, CublasEpilogue::drelu,   CublasEpilogue::drelu_bgrad,
    CublasEpilogue::dgelu,    CublasEpilogue::dgelu_bgrad,   CublasEpilogue::bgrad_a, CublasEpilogue::bgrad_b,
};

/// Memory of numbers of one type, as bits.
struct CublasNumbers {
  CublasNumbers() = default;
  CublasNumbers(bool floats, bool bf16, uint64_t count) : floats_(floats), bf16_(bf16), bits(count, 0) {
    bytes.resize(count * (floats ? 4 : 2));
  }
  double get(uint64_t i) const {
    if (floats_) return std::bit_cast<float>(bits[i]);
    return bf16_ ? bf16_to_float(uint16_t(bits[i])) : half_to_float(uint16_t(bits[i]));
  }
  void set(uint64_t i, double v) {
    bits[i] = floats_ ? std::bit_cast<uint32_t>(float(v))
              : bf16_ ? float_to_bf16(float(v))
                      : uint32_t(float_to_half(float(v)));
  }
  /// The memory that a product is given, made of the numbers.
  void* memory() {
    for (uint64_t i = 0; i < bits.size(); ++i) std::memcpy(&bytes[i * width()], &bits[i], width());
    return bytes.data();
  }
  /// The numbers that are now in that memory.
  void read() {
    for (uint64_t i = 0; i < bits.size(); ++i) std::memcpy(&bits[i], &bytes[i * width()], width());
  }
  size_t width() const { return floats_ ? 4 : 2; }
  double rounding() const { return floats_ ? 0x1p-23 : bf16_ ? 0x1p-7 : 0x1p-10; }

 private:
  bool floats_ = true, bf16_ = false;

 public:
  std::vector<uint32_t> bits;
  std::vector<std::byte> bytes;
};

/// A product with its memory. Every element beside what it says is a number that has to stay.
struct CublasCase {
  CublasProduct p;
  CublasNumbers a, b, c, d, bias, aux;
  std::vector<unsigned char> mask;  ///< of a relu, instead of aux

  static CublasCase random(RandomStream& random, CublasEpilogue epilogue, bool ta, bool tb, uint32_t batch) {
    constexpr uint32_t kSizes[] = {1, 2, 3, 5, 8, 17, 31};
    const auto size = [&] { return kSizes[random.below(std::size(kSizes))]; };
    CublasCase out;
    CublasProduct& p = out.p;
    p.operand = GemmOperand(random.below(3));
    const bool wide = p.operand == GemmOperand::f32 || random.below(2) == 0;
    p.output = wide ? GemmOutput::f32 : p.operand == GemmOperand::bf16 ? GemmOutput::bf16 : GemmOutput::f16;
    p.transposed_a = ta, p.transposed_b = tb, p.batch = batch, p.epilogue = epilogue;
    p.m = size(), p.n = size(), p.k = size();
    const uint64_t stored_a = ta ? p.k : p.m, stored_b = tb ? p.n : p.k;
    p.ld_a = (ta ? p.m : p.k) + random.below(3), p.ld_b = (tb ? p.k : p.n) + random.below(3);
    p.ld_d = p.n + random.below(3);
    p.stride_a = random.below(4) == 0 ? 0 : stored_a * p.ld_a + random.below(2);
    p.stride_b = random.below(4) == 0 ? 0 : stored_b * p.ld_b + random.below(2);
    p.stride_d = p.m * p.ld_d + random.below(2);
    p.stride_bias = std::max(p.m, p.n) + random.below(2);
    constexpr float kAlpha[] = {1, -0.5f, 0}, kBeta[] = {0, 1, -0.5f};
    p.alpha = kAlpha[random.below(3)], p.beta = kBeta[random.below(3)];
    const bool bits = out.has(128) && out.has(2 | 8);
    const uint64_t unit = bits ? 128 : 8;
    p.ld_aux = (p.n + unit - 1) / unit * unit + random.below(2) * unit,
    p.stride_aux = (p.m + random.below(2)) * p.ld_aux;
    const auto numbers = [&](bool floats, uint64_t count) {
      CublasNumbers v(floats, p.operand == GemmOperand::bf16, count);
      for (uint64_t i = 0; i < count; ++i) v.set(i, (double(random.below(31)) - 15) / 8);
      return v;
    };
    const bool narrow = p.operand == GemmOperand::f32;
    out.a = numbers(narrow, (batch - 1) * p.stride_a + stored_a * p.ld_a);
    out.b = numbers(narrow, (batch - 1) * p.stride_b + stored_b * p.ld_b);
    out.c = numbers(wide, batch * p.stride_d), out.d = numbers(wide, batch * p.stride_d);
    out.bias = numbers(wide, batch * p.stride_bias);
    out.aux = numbers(wide, bits ? 1 : batch * p.stride_aux);
    out.mask.resize(bits ? batch * p.stride_aux / 8 : 1);
    for (auto& byte : out.mask) byte = (unsigned char)random.below(256);
    return out;
  }

  bool has(uint32_t bits) const { return (uint32_t(p.epilogue) & bits) != 0; }

  /// The product with pointers to this case's memory.
  CublasProduct product() {
    CublasProduct out = p;
    out.a = a.memory(), out.b = b.memory(), out.c = c.memory(), out.d = d.memory(), out.bias = bias.memory();
    out.aux = aux.memory();
    if (has(128) && has(2 | 8)) out.aux = mask.data();
    return out;
  }

  /// What is computed, by rows: D, bias, aux and mask become what they are to be.
  void reference() {
    for (uint64_t item = 0; item < p.batch; ++item) {
      const auto op_a = [&](uint64_t i, uint64_t k) {
        return a.get(item * p.stride_a + (p.transposed_a ? k * p.ld_a + i : i * p.ld_a + k));
      };
      const auto op_b = [&](uint64_t k, uint64_t j) {
        return b.get(item * p.stride_b + (p.transposed_b ? j * p.ld_b + k : k * p.ld_b + j));
      };
      std::vector<double> column_sum(p.n, 0.0);
      for (uint64_t i = 0; i < p.m; ++i)
        for (uint64_t j = 0; j < p.n; ++j) {
          const uint64_t at = item * p.stride_d + i * p.ld_d + j, at_aux = item * p.stride_aux + i * p.ld_aux + j;
          double v = 0;
          for (uint64_t k = 0; k < p.k; ++k) v += op_a(i, k) * op_b(k, j);
          v = p.alpha * v + (p.beta != 0 ? p.beta * c.get(at) : 0);
          if (has(4)) v += bias.get(item * p.stride_bias + j);
          v = finish(v, at_aux);
          column_sum[j] += v;
          d.set(at, v);
        }
      for (uint64_t j = 0; j < p.n; ++j) {
        if (has(16)) bias.set(item * p.stride_bias + j, column_sum[j]);
        if (!has(256)) continue;
        double sum = 0;  // of B's column
        for (uint64_t k = 0; k < p.k; ++k) sum += op_b(k, j);
        bias.set(item * p.stride_bias + j, sum);
      }
      for (uint64_t i = 0; has(512) && i < p.m; ++i) {
        double sum = 0;  // of A's row
        for (uint64_t k = 0; k < p.k; ++k) sum += op_a(i, k);
        bias.set(item * p.stride_bias + i, sum);
      }
    }
  }

  /// Numbers of what a product wrote that are not those of the reference.
  size_t unlike(CublasCase& got) const {
    got.d.read(), got.bias.read(), got.aux.read();
    const bool rounded = has(32 | 64);
    size_t wrong = mask != got.mask;
    const auto compare = [&](const CublasNumbers& want, const CublasNumbers& have, bool near, double largest) {
      for (uint64_t i = 0; i < want.bits.size(); ++i) {
        const double error = std::fabs(want.get(i) - have.get(i));
        wrong += want.get(i) != have.get(i) &&
                 !(near && error <= want.rounding() * std::max(largest, std::fabs(want.get(i))));
      }
    };
    // tanh of two libraries of mathematics may end in another bit; where 1 + tanh cancels that is one of 1, times x.
    compare(d, got.d, rounded, 0x1p-20);
    compare(bias, got.bias, rounded, 0x1p-20);
    compare(aux, got.aux, false, 0);
    return wrong;
  }

 private:
  double finish(double v, uint64_t at) {
    const auto inner = [](double x) { return std::sqrt(2 / std::acos(-1.0)) * (x + 0.044715 * std::pow(x, 3)); };
    const auto byte = [&]() -> unsigned char& { return mask[at / 8]; };
    const auto bit = (unsigned char)(1u << (at % 8));
    if (has(2)) {
      if (has(128)) byte() = (unsigned char)(v > 0 ? byte() | bit : byte() & ~bit);
      return std::max(v, 0.0);
    }
    if (has(32)) {
      if (has(128)) aux.set(at, v);
      return v / (1 + std::exp(-2 * inner(v)));  // x/2 (1 + tanh)
    }
    if (has(8)) return byte() & bit ? v : 0;
    if (!has(64)) return v;
    const double x = aux.get(at), share = 1 / (1 + std::exp(-2 * inner(x)));
    const double slope = std::sqrt(2 / std::acos(-1.0)) * (1 + 3 * 0.044715 * x * x);
    return v * (share + x * 2 * share * (1 - share) * slope);
  }
};

/// Runs a product by a library of the host; how many numbers are unlike the reference.
inline Result<size_t> run_cublas_case(const std::shared_ptr<const CublasHandle>& handle, CublasCase test) {
  CublasCase want = test;
  want.reference();
  VIBEE_ASSIGN(const CublasPlan plan, CublasPlan::make(handle, test.product()));
  std::vector<std::byte> workspace(size_t(1) << 20);
  VIBEE_ASSIGN(const std::vector<CublasHeuristic> found, plan.candidates(workspace.size()));
  VIBEE_TRY(plan.run(found.front().algo, workspace.data(), workspace.size(), nullptr));
  return want.unlike(test);
}

/// Attributes of a product's descriptors that the library gives back otherwise than they were meant. No device needed.
inline Result<size_t> unlike_attributes(const std::shared_ptr<const CublasLt>& library, const CublasProduct& p) {
  VIBEE_ASSIGN(const CublasDescriptors made, CublasDescriptors::make(library, p));
  size_t wrong = 0;
  const auto desc = [&](CublasDescAttribute attribute, auto want) {
    decltype(want) got{};
    size_t written = 0;
    const auto r = library->desc_get(made.matmul(), attribute, &got, sizeof got, &written);
    wrong += r != CublasResult::success || written != sizeof got || got != want;
  };
  const auto layout = [&](CublasLayout* l, CublasLayoutAttribute attribute, auto want) {
    decltype(want) got{};
    size_t written = 0;
    const auto r = library->layout_get(l, attribute, &got, sizeof got, &written);
    wrong += r != CublasResult::success || written != sizeof got || got != want;
  };
  const auto bits = uint32_t(p.epilogue);
  desc(CublasDescAttribute::transpose_a, int32_t(p.transposed_b));
  desc(CublasDescAttribute::transpose_b, int32_t(p.transposed_a));
  desc(CublasDescAttribute::epilogue, bits);
  if (bits & (4 | 16 | 256 | 512)) desc(CublasDescAttribute::bias, p.bias);
  if (bits & 128) desc(CublasDescAttribute::aux, p.aux);
  if (bits & 128) desc(CublasDescAttribute::aux_ld, int64_t(p.ld_aux));
  layout(made.a(), CublasLayoutAttribute::rows, uint64_t(p.transposed_b ? p.k : p.n));
  layout(made.a(), CublasLayoutAttribute::columns, uint64_t(p.transposed_b ? p.n : p.k));
  layout(made.a(), CublasLayoutAttribute::ld, int64_t(p.ld_b));
  layout(made.b(), CublasLayoutAttribute::rows, uint64_t(p.transposed_a ? p.m : p.k));
  layout(made.b(), CublasLayoutAttribute::columns, uint64_t(p.transposed_a ? p.k : p.m));
  layout(made.b(), CublasLayoutAttribute::ld, int64_t(p.ld_a));
  layout(made.d(), CublasLayoutAttribute::rows, uint64_t(p.n));
  layout(made.d(), CublasLayoutAttribute::columns, uint64_t(p.m));
  for (CublasLayout* l : {made.a(), made.b(), made.d()}) {
    layout(l, CublasLayoutAttribute::order, int32_t(0));  // by columns
    layout(l, CublasLayoutAttribute::batch, int32_t(p.batch));
  }
  if (p.batch > 1) layout(made.a(), CublasLayoutAttribute::stride, int64_t(p.stride_b));
  return wrong;
}

}  // namespace vibee
