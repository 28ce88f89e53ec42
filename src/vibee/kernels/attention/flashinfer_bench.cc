// SPDX-License-Identifier: Apache-2.0
// v1692: a ragged decode step (one long context among short ones) and a mixed one, dealt by cost against dealt in turn;
// and what planning 64 sequences costs.
#include <algorithm>

#include "vibee/core/measure/measure.h"
#include "vibee/core/technique/context.h"
#include "vibee/kernels/attention/batch_cases.h"

namespace vibee {

Status bench_flashinfer(BenchContext& context) {
  const RunSettings& settings = context.settings();
  const uint32_t threads = std::max(2u, settings.threads);
  Team team(threads);
  const AttentionShape shape{4, 1, 256, 0.0625f, 0, 0};
  const AttentionKernel& kernel = attention_kernel(KvFormat::f16, settings.isa);
  const struct {
    const char* name;
    std::vector<StepSequence> what;
  } steps[] = {{"decode, one of 8192 and seven of 64",
                {{8192, 1}, {64, 1}, {64, 1}, {64, 1}, {64, 1}, {64, 1}, {64, 1}, {64, 1}}},
               {"a chunk of 128 at 2048 and six decodes at 1024",
                {{2048, 128}, {1024, 1}, {1024, 1}, {1024, 1}, {1024, 1}, {1024, 1}, {1024, 1}}}};
  for (const auto& [name, what] : steps) {
    if (!context.proceed(name, 0.5)) return error(Code::cancelled, "stopped");
    const StoredStep step(shape, KvFormat::f16, what, settings.seed);
    std::vector<FoldState> parts(size_t(step.slots()) * shape.group());
    std::vector<float> out = step.outputs();
    WorkList turn(shape, kernel.tile, step.rows(), threads, 0),
        planned(shape, kernel.tile, step.rows(), threads, step.slots());
    turn.plan(step.sequences(), {false, false});
    planned.plan(step.sequences(), {true, true});
    std::vector<double> ratios;
    for (int i = 0; i < 21; ++i) {
      const Timer a;
      step.run(kernel, turn, team, parts, out.data());
      const double before = a.seconds();
      const Timer b;
      step.run(kernel, planned, team, parts, out.data());
      ratios.push_back(before / b.seconds());
    }
    uint64_t most = 0, sum = 0;
    for (uint32_t t = 0; t < threads; ++t) most = std::max(most, turn.cost(t)), sum += turn.cost(t);
    context.figure(fmt::format("{}: planned against in turn", name), median(ratios), "x",
                   double(most) * threads / double(sum),
                   fmt::format("{}, {} threads, median of 21 pairs; ceiling by counted cost", kernel.symbol, threads));
  }
  std::vector<SequenceRows> many;
  for (uint32_t i = 0; i < 64; ++i) many.push_back({i, 1, 37 * i, nullptr});
  WorkList list({9, 3, 64, 0.125f, 0, 0}, kernel.tile, 64, threads, 1024);
  std::vector<double> seconds;
  for (int i = 0; i < 101; ++i) {
    const Timer timer;
    list.plan(many, {true, true});
    seconds.push_back(timer.seconds());
  }
  context.figure("planning 64 decodes", median(seconds) * 1e6, "us", 20, "once a step and window, not a layer");
  return {};
}

}  // namespace vibee
