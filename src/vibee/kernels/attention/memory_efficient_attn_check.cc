// SPDX-License-Identifier: Apache-2.0
// v1671: which parts of its specification (tree/serving.md) are not built yet. The family proves the forward pass over
// stored keys; here is the rest: packed documents, their gradients, and memory that grows with rows and not their
// square.
#include <cstring>

#include "vibee/core/technique/context.h"
#include "vibee/kernels/attention/attention_cases.h"
#include "vibee/kernels/attention/self_attention_cases.h"

namespace vibee {
namespace {

size_t different(const std::vector<float>& a, const std::vector<float>& b) {
  size_t n = 0;
  for (size_t i = 0; i < a.size(); ++i) n += std::memcmp(&a[i], &b[i], 4) != 0;
  return n;
}

}  // namespace

Status check_memory_efficient_attn(CheckContext& context) {
  for (const char* part : {"bf16 keys and values", "ALiBi", "attention sinks", "rabe form"}) context.not_built(part);
  context.needs_device("cuda", "");
  VIBEE_TRY(check_family_kernels_attention(context, "memory_efficient_attn"));
  if (context.describe_only()) return {};
  double worst = 0;
  size_t apart = 0, compared = 0;
  for (const SelfAttentionCase& c : self_attention_cases()) {
    PackedDocuments plain(c, context.settings().seed);
    plain.forward(Isa::scalar);
    plain.backward(Isa::scalar);
    worst = std::max(worst, plain.worst_error());
    for (Isa isa : {Isa::avx2, Isa::avx512}) {
      if (isa > context.settings().isa) continue;
      PackedDocuments fast(c, context.settings().seed);
      fast.forward(isa);
      fast.backward(isa);
      apart += different(plain.out, fast.out) + different(plain.dq, fast.dq) + different(plain.dk, fast.dk) +
               different(plain.dv, fast.dv);
      compared += plain.out.size() + plain.dq.size() + plain.dk.size() + plain.dv.size();
    }
  }
  context.at_most("largest error of gradients of packed documents against double", worst, 1e-5);
  context.equal("values of both passes that depend on the instruction set", double(apart), 0, "",
                fmt::format("{} compared", compared));
  // What a thread needs besides rows, from 8 to 16 thousand rows: keys and values of one head, no square of anything.
  AttentionShape shape{9, 3, 64};
  const uint64_t near = self_attention_scratch(shape, 8192), far = self_attention_scratch(shape, 16384);
  context.at_most("scratch bytes a row and thread, heads of 64", double(far - near) / 8192, 8.0 * 64 + 1);
  return {};
}

}  // namespace vibee
