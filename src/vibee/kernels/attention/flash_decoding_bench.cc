// SPDX-License-Identifier: Apache-2.0
// v1691: one row of SmolLM2's shape (3 KV heads) and of Gemma 3's (1 KV head) over long contexts, keys cut and not,
// turn by turn. The ideal is that of the counts: items/threads rounded up against not rounded, times how much faster
// `threads` threads read than one.
#include <algorithm>

#include "vibee/core/measure/measure.h"
#include "vibee/core/technique/context.h"
#include "vibee/kernels/attention/batch_cases.h"

namespace vibee {

Status bench_flash_decoding(BenchContext& context) {
  const RunSettings& settings = context.settings();
  const uint32_t threads = std::max(2u, settings.threads);
  Team team(threads);
  const struct {
    const char* name;
    AttentionShape shape;
  } shapes[] = {{"9 heads, 3 KV heads of 64", {9, 3, 64, 0.125f, 0, 0}},
                {"4 heads, 1 KV head of 256", {4, 1, 256, 0.0625f, 0, 0}}};
  for (const auto& [name, shape] : shapes)
    for (const uint32_t length : {2048u, 8192u, 32768u}) {
      if (settings.quick && length > 8192) continue;
      if (!context.proceed(name, length / 32768.0)) return error(Code::cancelled, "stopped");
      const StepSequence what[] = {{length, 1}};
      const StoredStep step(shape, KvFormat::f16, what, settings.seed);
      const AttentionKernel& kernel = attention_kernel(KvFormat::f16, settings.isa);
      std::vector<FoldState> parts(size_t(step.slots()) * shape.group());
      std::vector<float> out = step.outputs();
      WorkList whole(shape, kernel.tile, 1, threads, 0), cut(shape, kernel.tile, 1, threads, step.slots());
      whole.plan(step.sequences(), {true, false});
      cut.plan(step.sequences(), {true, true});
      std::vector<double> ratios, seconds;
      for (int i = 0; i < 31; ++i) {
        const Timer a;
        step.run(kernel, whole, team, parts, out.data());
        const double off = a.seconds();
        const Timer b;
        step.run(kernel, cut, team, parts, out.data());
        seconds.push_back(b.seconds());
        ratios.push_back(off / seconds.back());
      }
      context.figure(
          fmt::format("{} over {}: cut against whole", name, length), median(ratios), "x",
          double((shape.kv_heads + threads - 1) / threads) / (double(shape.kv_heads) / threads),
          fmt::format("{}, {} threads, median of 31 pairs; ceiling counts items only", kernel.symbol, threads));
      context.figure(fmt::format("{} over {}: keys and values read", name, length),
                     double(step.kv_bytes()) / median(seconds) / 1e9, "GB/s", 0, "cut");
    }
  return {};
}

}  // namespace vibee
