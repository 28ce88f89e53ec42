// SPDX-License-Identifier: Apache-2.0
// Proves v1671, forward: near the softmax in double, and the same bytes however the rows are cut and whichever
// instruction set runs.
#include <cstring>

#include "vibee/core/technique/context.h"
#include "vibee/kernels/attention/attention_cases.h"

namespace vibee {
namespace {

/// Lengths around the page (16) and the split (256), primes, groups of 1 to 12, windows, soft cap.
constexpr AttentionCase kCases[] = {
    {1, 1, 1, 8},         {15, 3, 1, 64},         {16, 9, 3, 64},         {17, 4, 4, 24},
    {255, 4, 1, 256},     {256, 9, 3, 64},        {257, 8, 1, 32},        {300, 4, 1, 256, 37},
    {523, 2, 2, 40, 256}, {601, 9, 3, 64, 0, 30}, {700, 6, 2, 96, 17, 5}, {513, 12, 1, 32},
};

double worst_error(const StoredSequence& s, const std::vector<float>& out) {
  double worst = 0;
  for (uint32_t position = 0; position < s.c.length; position += 1 + s.c.length / 24)
    for (uint32_t head = 0; head < s.c.heads; ++head) {
      const std::vector<double> want = s.expected(position, head);
      for (uint32_t i = 0; i < s.c.head_dim; ++i)
        worst = std::max(worst, std::fabs(want[i] - out[(size_t(position) * s.c.heads + head) * s.c.head_dim + i]));
    }
  return worst;
}

}  // namespace

Status check_memory_efficient_attn(CheckContext& context) {
  for (const char* part : {"backward", "bf16 keys and values", "ALiBi", "attention sinks", "document borders",
                           "rabe form", "CUDA kernels"})
    context.not_built(part);
  if (context.describe_only()) return {};

  double worst = 0, scale_of_f16 = 0;
  size_t different = 0, compared = 0, done = 0;
  for (const AttentionCase& c : kCases) {
    if (!context.proceed("memory_efficient_attn", double(done++) / std::size(kCases)))
      return error(Code::cancelled, "stopped");
    for (KvFormat format : {KvFormat::f32, KvFormat::f16, KvFormat::q8_0}) {
      if (format == KvFormat::q8_0 && c.head_dim % 32 != 0) continue;
      const StoredSequence sequence(c, format, context.settings().seed);
      std::vector<float> first;
      for (const AttentionKernel& kernel : attention_kernels()) {
        if (kernel.kv != format || kernel.isa > context.settings().isa || sequence.shape.group() > kernel.tile)
          continue;
        for (uint32_t rows : {1u, 3u, 12u}) {
          if (kernel.isa == Isa::scalar && rows != 3) continue;  // fma in software: slow, and the same code
          const std::vector<float> out = sequence.attend_all(kernel, rows);
          if (first.empty()) first = out;
          for (size_t i = 0; i < out.size(); ++i) different += std::memcmp(&first[i], &out[i], sizeof(float)) != 0;
          compared += out.size();
        }
      }
      double& error = format == KvFormat::f32 ? worst : scale_of_f16;
      if (format != KvFormat::q8_0) error = std::max(error, worst_error(sequence, first));
    }
  }
  context.at_most("largest error against double, f32 keys and values", worst, 4e-6);
  context.at_most("largest error against double, f16 keys and values", scale_of_f16, 1.5e-2);
  context.equal("values that depend on tile or instruction set", double(different), 0, "",
                fmt::format("{} compared", compared));
  return {};
}

}  // namespace vibee
