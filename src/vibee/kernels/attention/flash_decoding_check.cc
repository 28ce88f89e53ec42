// SPDX-License-Identifier: Apache-2.0
// v1691: rows over contexts around pages and splits, cut for 1 to 7 threads, equal the uncut ones byte for byte; chunks
// follow the rule.
#include <cmath>
#include <cstring>

#include "vibee/core/technique/context.h"
#include "vibee/kernels/attention/batch_cases.h"
#include "vibee/kernels/attention/flash_decoding.h"

namespace vibee {

Status check_flash_decoding(CheckContext& context) {
  for (const char* part : {"fixed chunk lengths (`--attention-split fixed:TOKENS`; ours never change bytes)",
                           "token trees", "bf16 keys and values"})
    context.not_built(part);
  context.needs_device("cuda", "");
  if (context.describe_only()) return {};
  size_t differing = 0, compared = 0, cut = 0;
  for (const uint32_t window : {0u, 700u})
    for (const uint32_t length : {1u, 15u, 16u, 17u, 256u, 257u, 1000u, 3333u}) {
      if (!context.proceed("flash_decoding", length / 3333.0)) return error(Code::cancelled, "stopped");
      AttentionShape shape{9, 3, 64, 0.125f, 0, window};
      const StepSequence what[] = {{length, 1}, {40, 1}};
      const StoredStep step(shape, KvFormat::f16, what, context.settings().seed);
      const AttentionKernel& kernel = attention_kernel(KvFormat::f16, context.settings().isa);
      std::vector<float> want;
      for (const uint32_t threads : {1u, 2u, 3u, 7u}) {
        WorkList list(shape, kernel.tile, step.rows(), threads, step.slots());
        list.plan(step.sequences(), {true, threads > 1});
        cut += list.has_merges();
        Team team(threads);
        std::vector<FoldState> parts(size_t(step.slots()) * shape.group());
        std::vector<float> out = step.outputs();
        step.run(kernel, list, team, parts, out.data());
        if (threads == 1) want = out;
        for (size_t i = 0; i < out.size(); ++i) differing += std::memcmp(&out[i], &want[i], 4) != 0;
        compared += out.size();
      }
    }
  context.equal("values that depend on the cut", double(differing), 0, "", fmt::format("{} compared", compared));
  context.at_least("steps that were cut", double(cut), 12);
  // One item a thread and more threads than items: chunks of an eighth of a share; enough items: none.
  context.equal("splits a chunk, 3 items of 32 splits, 2 threads", splits_a_chunk({3, 96, 32}, 2), 6);
  context.equal("splits a chunk, 16 items, 2 threads", splits_a_chunk({16, 512, 32}, 2), 0);
  return {};
}

}  // namespace vibee
