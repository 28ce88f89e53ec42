// SPDX-License-Identifier: Apache-2.0
// Outliers of activation rows, as LLM.int8() has them (Dettmers et al., NeurIPS 2022, arXiv:2208.07339, section 3.2): a
// few elements that are so large that a scale with room for them rounds away what stands beside. They are left out of a
// row's scales and codes (q = 0) and meet the weight as floats behind the integer sum, in the order of their columns:
// out[j] = fma(x_k, w_jk, out[j]). The paper takes a column apart for all rows of a batch when one has an outlier in
// it; here outliers are a row's own, so that its bytes do not depend on the rows beside it.
#pragma once

#include "vibee/kernels/gemm/gemm.h"
#include "vibee/kernels/pointwise/pointwise.h"

namespace vibee {

struct Outlier {
  uint32_t column;
  float value;
};

/// Outliers lie behind quantised rows (act.h): for each row one whose `column` is their number, then room for k, by
/// ascending columns.
constexpr uint64_t outlier_stride(uint32_t k) { return uint64_t(k) + 1; }
constexpr uint64_t outlier_bytes(uint32_t rows, uint32_t k) { return rows * outlier_stride(k) * sizeof(Outlier); }
inline Outlier* outlier_row(uint8_t* act, uint32_t rows, uint32_t k, uint32_t row) {
  return reinterpret_cast<Outlier*>(act + act_bytes(rows, k)) + row * outlier_stride(k);
}

/// A row by a rule that is not ActRule::floats, its elements of at least `threshold` (above 0) apart. What is not
/// finite is no outlier: it makes the row NaN as it does without a threshold. Rows of four bits have none: what keeps
/// theirs is the group of eight (ActRule).
void quantize_apart(const PointwiseKernels& pw, ActRule rule, float threshold, const float* x, uint32_t k,
                    const ActRow& row, Outlier* outliers);

/// Adds the outliers of `m` rows, the first of which has its own at `rows`, times a panel to tile[m][w.nr].
void add_outliers(const PackedWeight& w, const uint8_t* panel, Isa isa, const Outlier* rows, uint32_t m, float* tile);

/// Rows of a product, with their outliers where elements are apart.
struct RowsInput : MatmulInput {
  const Outlier* outliers = nullptr;  ///< of the first row, or null
};
/// Adds the outliers of rows row .. row + m to the tile that `panel` gave.
inline void add_outliers(const GemmKernel& kernel, const PackedWeight& w, const RowsInput& in, uint32_t panel,
                         uint32_t row, uint32_t m, float* tile) {
  if (in.outliers == nullptr) return;
  add_outliers(w, w.data + panel * w.stride(), kernel.isa, in.outliers + row * outlier_stride(w.k), m, tile);
}
/// matmul of gemm.h, whose tiles get their outliers before they are stored.
template <class Store>
void matmul(const GemmKernel& kernel, const PackedWeight& w, const RowsInput& in, uint32_t first, uint32_t last,
            Store&& store) {
  const MatmulInput& rows = in;
  matmul(kernel, w, rows, first, last, [&](uint32_t panel, uint32_t row, uint32_t m, float* tile) {
    add_outliers(kernel, w, in, panel, row, m, tile);
    store(panel, row, m, tile);
  });
}

/// Where a column of a panel stands, and how its values are read.
struct PanelColumn {
  PanelLayout layout;
  CodeParts parts;
  uint32_t nr;
  const uint8_t* header;  ///< of the superblock
  const uint8_t* codes;   ///< of the 32-block
  uint32_t block;         ///< the 32-block in the superblock
  uint32_t element;       ///< the column in the 32-block
  const uint8_t* tail;    ///< behind the superblocks
};
/// tile[rows[i]][j] = fma(values[i], the column's value of panel row j, tile[rows[i]][j]) for i < n; the values are
/// those of decode_row.
using AddColumn = void (*)(const PanelColumn& column, const uint32_t* rows, const float* values, uint32_t n,
                           float* tile);
void add_column_scalar(const PanelColumn&, const uint32_t*, const float*, uint32_t, float*);
void add_column_avx2(const PanelColumn&, const uint32_t*, const float*, uint32_t, float*);
void add_column_avx512(const PanelColumn&, const uint32_t*, const float*, uint32_t, float*);

}  // namespace vibee
