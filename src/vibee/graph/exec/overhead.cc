// SPDX-License-Identifier: Apache-2.0
#include "vibee/graph/exec/overhead.h"

#include <algorithm>
#include <chrono>

#include "vibee/graph/exec/sample.h"
#include "vibee/graph/ir/sample_decoder.h"
#include "vibee/graph/pass/pass.h"

namespace vibee {
namespace {

double quantile(std::vector<double>& x, size_t one_in) {
  const size_t at = x.size() / one_in;
  std::nth_element(x.begin(), x.begin() + std::ptrdiff_t(at), x.end());
  return x[at];
}

}  // namespace

Result<ExecutorOverhead> executor_overhead(uint32_t threads, uint32_t steps, Isa isa) {
  if (threads == 0 || steps == 0)
    return error(Code::invalid, "the executor's overhead needs at least one thread and one step");
  SampleDecoder decoder;
  decoder.format = decoder.value_format = Format::q8_0;
  VIBEE_ASSIGN(const Graph graph, run_passes(sample_decoder(decoder)));
  VIBEE_ASSIGN(const SampleWeights weights, SampleWeights::make(graph, isa, 1));
  PlanOptions o;
  o.max_rows = 1;
  o.max_context = 64;
  o.threads = threads;
  o.isa = isa;
  VIBEE_ASSIGN(const std::unique_ptr<Plan> plan, Plan::compile(graph, weights.table(), o));
  VIBEE_ASSIGN(const SampleCache cache, SampleCache::make(graph, o.kv, 1, o.max_context));
  Team team(threads);
  std::vector<double> wall, kernels, rest;
  constexpr uint32_t kWarmUp = 20;
  for (uint32_t step = 0; step < kWarmUp + steps; ++step) {
    const uint32_t position = step % o.max_context;
    const int32_t token = int32_t(step % uint32_t(decoder.vocab)), at = int32_t(position);
    const SequenceRows sequence{0, 1, position, cache.pages(0)};
    const uint32_t row = 0;
    plan->enable_profile();  // clears the counters
    const auto begin = std::chrono::steady_clock::now();
    plan->run(team, {{&token, 1}, {&at, 1}, {&sequence, 1}, {&row, 1}}, cache.views());
    const double us = std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin).count();
    if (step < kWarmUp) continue;
    double work = 0;
    const auto times = plan->profile();
    for (size_t c = 0; c < times.size(); c += threads) {
      uint64_t slowest = 0;
      for (uint32_t t = 0; t < threads; ++t) slowest = std::max(slowest, times[c + t].work);
      work += double(slowest) / 1e3;
    }
    wall.push_back(us);
    kernels.push_back(work);
    rest.push_back(us - work);
  }
  ExecutorOverhead r;
  r.layers = uint32_t(decoder.layers);
  r.calls = uint32_t(plan->calls().size());
  r.regions = plan->regions_small();
  r.overhead_us = quantile(rest, 2) / r.layers;
  r.quiet_us = quantile(rest, 10) / r.layers;
  r.step_us = quantile(wall, 2);
  r.kernel_us = quantile(kernels, 2);
  return r;
}

}  // namespace vibee
