// SPDX-License-Identifier: Apache-2.0
// The GPTQ solver (Frantar et al., "GPTQ", ICLR 2023, algorithm 1): columns of a matrix are rounded one behind the
// other, and what each loses is made up for by those that are still floats, as far as inputs go together. For rows x of
// what the matrix reads, H = sum x x^T; U is the upper factor of (H + damping)^-1 = U^T U. For each column j, of each
// row alike:
//
//   e = (w_j - rounded w_j) / U_jj        w_k -= e U_jk  for k > j
//
// The scales of a block are searched by the format's own encoder when its first column is reached, with each column's
// weight 1 / U_jj^2, what its error costs once those behind it have made up for it. Rows know nothing of one another,
// so slices and threads do not change a byte.
#pragma once

#include <atomic>
#include <optional>
#include <span>
#include <vector>

#include "vibee/base/simd/isa.h"
#include "vibee/base/thread/team.h"
#include "vibee/formats/packed/format.h"
#include "vibee/kernels/gemm/cutlass_gemm.h"

namespace vibee {

/// Rows that are solved together: products of errors and factors are of so many.
inline constexpr uint32_t kGptqRows = 64;

class GptqFactor {
 public:
  /// U of H [k, k], whose diagonal gets `damping` times its mean, twice that and so on where H has no factor (ten
  /// times; an error then). A column whose inputs are all zero counts for nothing: its weights become zero. `hessian`
  /// is used up.
  static Result<GptqFactor> make(std::vector<float> hessian, uint32_t k, double damping, Team& team, Isa isa);
  uint32_t k() const { return k_; }
  const float* row(uint32_t j) const { return upper_.data() + uint64_t(j) * k_; }  ///< U_jj and behind it
  bool dead(uint32_t j) const { return dead_[j]; }

 private:
  uint32_t k_ = 0;
  std::vector<float> upper_;  ///< [k, k], zero below the diagonal
  std::vector<bool> dead_;
};

/// What matrices that read the same rows share where their columns are solved in another order than the inputs'.
class SortedInputs {
 public:
  /// That H [k, k] has a diagonal to sort by.
  static Status check(std::span<const float> hessian, uint32_t k);
  /// `order`: the input at each place; H [k, k] in the inputs' order; `damping` as GptqFactor takes it.
  static Result<SortedInputs> make(std::span<const float> hessian, std::vector<uint32_t> order, double damping,
                                   Team& team, Isa isa);
  uint32_t k() const { return factor_.k(); }
  std::span<const uint32_t> order() const { return order_; }
  const GptqFactor& factor() const { return factor_; }  ///< of the sorted inputs
  /// The columns of rows [n, k], sorted.
  std::vector<float> sort(std::span<const float> rows) const;

 private:
  std::vector<uint32_t> order_;
  GptqFactor factor_;
};

/// Column j of a row becomes `value`: what it loses is made up for by columns j + 1 .. end - 1. Returns the error e.
inline float gptq_column(const GptqFactor& factor, uint32_t j, uint32_t end, float value, float* row) {
  const float* const u = factor.row(j);
  const float e = factor.dead(j) ? 0.0f : (row[j] - value) / u[j];
  for (uint32_t i = j + 1; i < end; ++i) row[i] -= e * u[i];
  return e;
}

/// What columns first .. last - 1 lost, made up for by all behind them at once.
class GptqBehind {
 public:
  /// `factor` must outlive this.
  GptqBehind(const GptqFactor& factor, uint32_t first, uint32_t last, Isa isa);
  /// Of at most kGptqRows rows, whose errors are [rows, last - first]. From several threads at once, with memory of
  /// their own.
  void apply(std::span<float> rows, std::span<const float> errors, std::vector<uint8_t>* memory) const;

 private:
  const GptqFactor* factor_;
  uint32_t first_, last_;
  std::optional<GemmPlan> plan_;  ///< nothing where no column is behind
};

/// Runs work(slice, tid) for slices of kGptqRows of so many rows.
template <class F>
void for_gptq_slices(uint32_t rows, Team& team, F&& work) {
  const uint32_t slices = (rows + kGptqRows - 1) / kGptqRows;
  std::atomic<uint32_t> next{0};
  team.run([&](uint32_t tid) {
    for (uint32_t at; (at = next.fetch_add(1)) < slices;) work(at, tid);
  });
}

/// Encodes rows of k elements in a format that has levels (NumericFormat::put_codes).
class GptqEncoder {
 public:
  /// The format's blocks divide k; `factor` must outlive this.
  GptqEncoder(const GptqFactor& factor, Format format, Isa isa);
  /// At most kGptqRows rows, which are used up. From several threads at once.
  void encode(std::span<float> rows, uint8_t* out) const;

 private:
  struct Scratch;
  void encode_block(Scratch* s, uint32_t first, uint32_t last, uint32_t rows, uint8_t* out) const;
  const GptqFactor* factor_;
  const NumericFormat* format_;
  uint32_t lazy_;                   ///< columns whose errors are kept before those behind them hear of it
  std::vector<float> weights_;      ///< of columns
  std::vector<GptqBehind> behind_;  ///< one a lazy block
};

/// tr(dW H dW^T): what rows of differences lose over the inputs that H is of. H [k, k].
double hessian_loss(std::span<const float> differences, std::span<const float> hessian, uint32_t k);

}  // namespace vibee
