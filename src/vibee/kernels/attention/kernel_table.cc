// SPDX-License-Identifier: Apache-2.0
// The rows of the attention family as one constant table, and the choice among them. A technique whose check is
// `family` brings a plain kernel of its own name (<id>_split, <id>_fold, <id>_finish in <id>.cc); its faster ones are
// rows of kernels.inc.
#include "vibee/kernels/attention/attention.h"

namespace vibee {

#define VIBEE_PLAIN_own(id)
#define VIBEE_PLAIN_family(id) VIBEE_KERNEL(id, id, scalar, f32, id, 4)
#define VIBEE_TECHNIQUE(id, version, summary, promise, switches, source, check, bench) VIBEE_PLAIN_##check(id)

#define VIBEE_KERNEL(symbol, technique, isa, kv, order, tile)                                        \
  void symbol##_split(const AttentionShape&, const KvView&, const QueryTile&, uint32_t, FoldState*); \
  void symbol##_fold(uint32_t, const FoldState&, FoldState*);                                        \
  void symbol##_finish(uint32_t, const FoldState&, float*);
#define VIBEE_BF16_KERNEL(symbol, technique, isa, kv, tile) VIBEE_KERNEL(symbol, technique, isa, kv, bf16, tile)
#include "vibee/kernels/attention/kernels.inc"
#include "vibee/kernels/attention/techniques.inc"
#undef VIBEE_KERNEL
#undef VIBEE_BF16_KERNEL

namespace {

constexpr AttentionKernel kKernels[] = {
#define VIBEE_ROW(symbol, technique, isa, kv, order, tile) \
  {#symbol, #technique, Isa::isa, KvFormat::kv, #order, tile, symbol##_split, symbol##_fold, symbol##_finish},
#define VIBEE_KERNEL VIBEE_ROW
#define VIBEE_BF16_KERNEL(symbol, technique, isa, kv, tile)
#include "vibee/kernels/attention/kernels.inc"
#include "vibee/kernels/attention/techniques.inc"
#undef VIBEE_BF16_KERNEL
};
constexpr AttentionKernel kBf16Kernels[] = {
#define VIBEE_BF16_KERNEL(symbol, technique, isa, kv, tile) VIBEE_ROW(symbol, technique, isa, kv, bf16, tile)
#undef VIBEE_KERNEL
#define VIBEE_KERNEL(symbol, technique, isa, kv, order, tile)
#include "vibee/kernels/attention/kernels.inc"
#undef VIBEE_KERNEL
#undef VIBEE_BF16_KERNEL
};

}  // namespace

std::span<const AttentionKernel> attention_kernels() { return kKernels; }

const AttentionKernel& attention_kernel(KvFormat kv, Isa isa) {
  const AttentionKernel* best = nullptr;
  for (const AttentionKernel& kernel : kKernels)
    if (kernel.kv == kv && kernel.order == kAttentionOrder && kernel.isa <= isa &&
        (best == nullptr || kernel.isa > best->isa))
      best = &kernel;
  VIBEE_CHECK(best != nullptr, "kv format {}", int(kv));
  return *best;
}

const AttentionKernel* bf16_attention_kernel(KvFormat kv, Isa isa) {
  for (const AttentionKernel& kernel : kBf16Kernels)
    if (kernel.kv == kv && kernel.isa <= isa) return &kernel;
  return nullptr;
}

}  // namespace vibee
