// SPDX-License-Identifier: Apache-2.0
// Attention over the batch: the thread's share of the step's work list (kernels/attention/flashinfer.h); outputs are
// quantised as they are finished where the next product wants codes.
#include "vibee/graph/exec/row_calls.h"

namespace vibee {

void run_attention(const Call& c, Worker& w) {
  const uint32_t d = c.shape.head_dim, width = c.shape.heads * d;
  const AttentionKernel* const many = w.plan.takes_bf16(uint32_t(w.sizes.t)) ? c.many_attention : nullptr;
  const BatchQueries queries{
      *c.attention,   c.shape, w.kv[c.layer], w.batch.sequences, w.plan.pointer<float>(c.in[0], w.tid, w.small),
      w.plan.parts(), many};
  alignas(64) float out[kMaxHeadDim];
  run_work(
      many ? w.plan.many_list(c.work_list) : w.plan.work_list(c.work_list), queries, w.tid, [&] { w.team.barrier(); },
      [&](uint32_t row, uint32_t head, const FoldState& state) {
        if (!c.quantized) {
          c.attention->finish(d, state,
                              w.plan.pointer<float>(c.out[0], w.tid, w.small) + uint64_t(row) * width + head * d);
          return;
        }
        c.attention->finish(d, state, out);
        auto* const act = w.plan.pointer<uint8_t>(c.out[0], w.tid, w.small);
        for (uint32_t b = 0; b < d / kActBlock; ++b)
          quantize_block(c, w, out + b * kActBlock, width, act, uint32_t(w.sizes.t), row, head * d / kActBlock + b);
      });
}

}  // namespace vibee
