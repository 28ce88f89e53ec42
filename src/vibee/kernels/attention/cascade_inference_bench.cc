// SPDX-License-Identifier: Apache-2.0
// v1675: 32 sequences that generate behind a shared prefix, planned as groups where that counts as faster against each
// for itself, turn by turn.
#include <algorithm>

#include "vibee/core/measure/measure.h"
#include "vibee/core/technique/context.h"
#include "vibee/kernels/attention/batch_cases.h"

namespace vibee {

Status bench_cascade_inference(BenchContext& context) {
  const RunSettings& settings = context.settings();
  const AttentionKernel& kernel = attention_kernel(KvFormat::f16, settings.isa);
  const AttentionShape smollm{9, 3, 64, 0.125f, 0, 0}, wide{32, 32, 128, 0.088f, 0, 0};
  const struct {
    const char* name;
    AttentionShape shape;
    uint32_t shared, own;
    double target;
  } cases[] = {{"9 heads, 3 of keys, of 64; 4096 shared, 64 own", smollm, 4096, 64, 1.2},
               {"32 heads of 128; 4096 shared, 64 own", wide, 4096, 64, 3.5},
               {"9 heads, 3 of keys, of 64; 150 shared, 64 own", smollm, 150, 64, 0.98}};
  Team team(settings.threads);
  for (const auto& [name, shape, shared, own, target] : cases) {
    if (!context.proceed(name, 0.5)) return error(Code::cancelled, "stopped");
    std::vector<StepSequence> what = {{shared + own, 1}};
    for (uint32_t i = 1; i < 32; ++i) what.push_back({shared + own, 1, shared, 0});
    const StoredStep step(shape, KvFormat::f16, what, settings.seed);
    std::vector<FoldState> parts(size_t(step.slots()) * std::min(shape.group(), kernel.tile));
    std::vector<float> out = step.outputs();
    WorkList apart(shape, kernel.tile, step.rows(), settings.threads, 0), chosen = apart;
    std::vector<double> ratios, planning;
    for (int i = 0; i < (settings.quick ? 21 : 61); ++i) {
      const Timer a;
      apart.plan(step.sequences(), {true, true, Cascade::off});
      step.run(kernel, apart, team, parts, out.data());
      const double before = a.seconds();
      const Timer b;
      chosen.plan(step.sequences(), {true, true, Cascade::automatic});
      planning.push_back(b.seconds());
      step.run(kernel, chosen, team, parts, out.data());
      ratios.push_back(before / b.seconds());
    }
    uint64_t most_apart = 0, most_chosen = 0;
    for (uint32_t t = 0; t < settings.threads; ++t) {
      most_apart = std::max(most_apart, apart.cost(t));
      most_chosen = std::max(most_chosen, chosen.cost(t));
    }
    context.target(
        name, median(ratios), "x", target,
        fmt::format("{}, {} threads, median of {} pairs with planning; {:.2f}x by counted cost", kernel.symbol,
                    settings.threads, ratios.size(), double(most_apart) / double(most_chosen)));
    context.figure("planning of it", 1e6 * median(planning), "us", 0, "once a step and window, not a layer");
  }
  return {};
}

}  // namespace vibee
