// SPDX-License-Identifier: Apache-2.0
// Proves the attention kernels of one technique: near the softmax in double, and the same bytes however the rows are
// cut and whichever instruction set runs.
#include <bit>

#include "vibee/core/technique/context.h"
#include "vibee/kernels/attention/attention_cases.h"

namespace vibee {
namespace {

struct Tally {
  double worst = 0;
  size_t different = 0, compared = 0;
};

/// One stored sequence through every row of the technique that may run here.
void run_case(const StoredSequence& sequence, KvFormat format, std::string_view id, Isa most, Tally& tally) {
  std::vector<float> first;
  for (const AttentionKernel& kernel : attention_kernels()) {
    if (kernel.technique != id || kernel.kv != format || kernel.isa > most) continue;
    for (uint32_t rows : {1u, 3u, 12u}) {
      if (kernel.isa == Isa::scalar && rows != 3) continue;  // fma in software: slow, and the same code
      const std::vector<float> out = sequence.attend_all(kernel, rows);
      if (first.empty()) first = out;
      for (size_t i = 0; i < out.size(); ++i)
        tally.different += std::bit_cast<uint32_t>(first[i]) != std::bit_cast<uint32_t>(out[i]);
      tally.compared += out.size();
    }
  }
  if (first.empty()) return;
  const double error = sequence.worst_error(first);
  tally.worst = error <= tally.worst ? tally.worst : error;
}

}  // namespace

Status check_family_kernels_attention(CheckContext& context, std::string_view id) {
  if (context.describe_only()) return {};
  size_t different = 0, compared = 0;
  for (const KvFormatInfo& format : kKvFormats) {
    Tally tally;
    for (const AttentionCase& c : kStandardAttentionCases) {
      if (!context.proceed(id, double(&c - kStandardAttentionCases) / std::size(kStandardAttentionCases)))
        return error(Code::cancelled, "stopped");
      if (c.head_dim % format.unit != 0) continue;
      run_case(StoredSequence(c, format.format, context.settings().seed), format.format, id, context.settings().isa,
               tally);
    }
    if (tally.compared == 0) continue;  // the technique has no kernel for it
    context.at_most(fmt::format("largest error against double, {} keys and values", format.name), tally.worst,
                    kAttentionErrorBound);
    different += tally.different;
    compared += tally.compared;
  }
  if (compared == 0) return error(Code::invalid, "{} has no kernel that runs here", id);
  context.equal("values that depend on tile or instruction set", double(different), 0, "",
                fmt::format("{} compared", compared));
  return {};
}

}  // namespace vibee
