// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/gemm/outliers.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "vibee/kernels/gemm/quantize_row.h"

namespace vibee {
namespace {

/// A 32-block without its outliers, which are appended at `next` unless that is null.
const float* rest_of(const float* block, float threshold, uint32_t column, float* rest, Outlier** next) {
  for (uint32_t i = 0; i < kActBlock; ++i) {
    const float size = std::fabs(block[i]);
    const bool apart = size >= threshold && size <= std::numeric_limits<float>::max();
    rest[i] = apart ? 0.0f : block[i];
    if (apart && next != nullptr) *(*next)++ = {column + i, block[i]};
  }
  return rest;
}

PanelColumn column_at(const PackedWeight& w, const uint8_t* panel, uint32_t column) {
  const PanelLayout layout = panel_layout(w.format);
  const uint32_t sb = superblock(layout.header), head = header_bytes(layout.header, w.nr),
                 codes = code_bytes(layout.codes, w.nr), block = column % sb / kActBlock;
  const uint8_t* at = panel + uint64_t(column / sb) * (head + sb / kActBlock * codes);
  return {layout,
          code_parts(layout.codes),
          w.nr,
          at,
          at + head + block * codes,
          block,
          column % kActBlock,
          panel + w.stride() - tail_bytes(layout, w.nr)};
}

AddColumn add_column(Isa isa) {
  return isa >= Isa::avx512 ? add_column_avx512 : isa == Isa::avx2 ? add_column_avx2 : add_column_scalar;
}

}  // namespace

void quantize_apart(const PointwiseKernels& pw, ActRule rule, float threshold, const float* x, uint32_t k,
                    const ActRow& row, Outlier* outliers) {
  if (act_rule_group(rule) != 0) {
    quantize_row(pw, rule, x, k, row);
    *outliers = {0, 0};
    return;
  }
  alignas(64) float rest[kActBlock];
  Outlier* next = outliers + 1;
  float whole = 0;  // the largest of the row's rest; NaN stays
  for (uint32_t b = 0; b < k / kActBlock && rule == ActRule::row; ++b) {
    const float* block = x + b * kActBlock;
    float largest = pw.largest(block, kActBlock);
    if (!(largest < threshold)) largest = pw.largest(rest_of(block, threshold, 0, rest, nullptr), kActBlock);
    if (!(largest <= whole) && !std::isnan(whole)) whole = largest;
  }
  for (uint32_t b = 0; b < k / kActBlock; ++b) {
    const float* block = x + b * kActBlock;
    float largest = pw.largest(block, kActBlock);
    if (!(largest < threshold)) {
      block = rest_of(block, threshold, b * kActBlock, rest, &next);
      largest = pw.largest(block, kActBlock);
    }
    pw.quantize_by(block, rule == ActRule::row ? whole : largest, row.q(b), row.da(b), row.das(b), row.ns(b),
                   row.ns0(b));
  }
  *outliers = {uint32_t(next - outliers - 1), 0};
}

/// A column that several rows have is decoded once for them.
void add_outliers(const PackedWeight& w, const uint8_t* panel, Isa isa, const Outlier* rows, uint32_t m, float* tile) {
  const Outlier *next[kActMaxGroup], *end[kActMaxGroup];
  uint32_t left = 0;
  for (uint32_t i = 0; i < m; ++i) {
    const Outlier* row = rows + i * outlier_stride(w.k);
    next[i] = row + 1;
    end[i] = next[i] + row->column;
    left += row->column;
  }
  const AddColumn add = add_column(isa);
  while (left > 0) {
    uint32_t column = UINT32_MAX, n = 0, with[kActMaxGroup];
    float values[kActMaxGroup];
    for (uint32_t i = 0; i < m; ++i)
      if (next[i] != end[i]) column = std::min(column, next[i]->column);
    for (uint32_t i = 0; i < m; ++i) {
      if (next[i] == end[i] || next[i]->column != column) continue;
      with[n] = i;
      values[n++] = next[i]++->value;
    }
    add(column_at(w, panel, column), with, values, n, tile);
    left -= n;
  }
}

}  // namespace vibee
