// SPDX-License-Identifier: Apache-2.0
#include "vibee/kernels/gemm/quantize_row.h"

namespace vibee {

void quantize_row(const PointwiseKernels& pw, ActRule rule, const float* x, uint32_t k, const ActRow& row) {
  if (rule == ActRule::block) {
    for (uint32_t b = 0; b < k / kActBlock; ++b)
      pw.quantize_block(x + b * kActBlock, row.q(b), row.da(b), row.das(b), row.ns(b), row.ns0(b));
    return;
  }
  const uint32_t group = rule == ActRule::row ? k : act_rule_group(rule);
  for (uint32_t at = 0; at < k; at += group) {
    const bool bytes = rule == ActRule::row || (keeps_last(rule) && at + group == k);
    const auto quantize = bytes ? pw.quantize_by : pw.quantize4_by;
    const float largest = pw.largest(x + at, group);
    const uint32_t first = at / kActBlock, end = (at + group) / kActBlock;
    for (uint32_t b = first; b < end; ++b)
      quantize(x + b * kActBlock, largest, row.q(b), row.da(b), row.das(b), row.ns(b), row.ns0(b));
    if (rule == ActRule::row) continue;
    for (uint32_t b = first + 1; b < end; ++b) {
      *row.ns(first) += *row.ns(b);
      *row.ns(b) = 0;
    }
  }
}

}  // namespace vibee
