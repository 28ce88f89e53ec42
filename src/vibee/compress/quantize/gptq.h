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
  uint32_t lazy_;                ///< columns whose errors are kept before those behind them hear of it
  std::vector<float> weights_;   ///< of columns
  std::vector<GemmPlan> plans_;  ///< one a lazy block but the last
};

/// tr(dW H dW^T): what rows of differences lose over the inputs that H is of. H [k, k].
double hessian_loss(std::span<const float> differences, std::span<const float> hessian, uint32_t k);

}  // namespace vibee
