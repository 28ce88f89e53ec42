// SPDX-License-Identifier: Apache-2.0
// v1679 on a clock that is computed: random arrivals, the cost curve exact. No gap exceeds the promise, nobody who
// generates is left out, every request ends; then a machine a fifth slower than the curve says.
#include <algorithm>
#include <deque>

#include "vibee/core/technique/context.h"
#include "vibee/kit/trial_model.h"

namespace vibee {
namespace {

struct Simulated {
  uint64_t gaps = 0, late = 0, left_out = 0, unfinished = 0, late_at_end = 0;
};

/// A stream of requests through the policy; steps take what `time` says times `slower`.
Simulated simulate(StepTime time, double slower, uint64_t seed) {
  struct Sequence {
    uint32_t prompt, computed, missing, left;
    bool begun;
    double last;
  };
  RandomStream random(seed, Purpose::test);
  std::deque<Sequence> waiting;
  std::vector<Sequence> running;
  Simulated out;
  double clock = 0;
  uint32_t sent = 0;
  for (int step = 0; step < 4000 && (sent < 60 || !waiting.empty() || !running.empty()); ++step) {
    while (sent < 60 && random.below(6) == 0) {
      const uint32_t n = 1 + random.below(900);
      waiting.push_back({n, 0, n, 1 + random.below(80), false, 0});
      ++sent;
    }
    std::vector<SeqView> views;
    const auto show = [&] {
      views.clear();
      for (const Sequence& s : running) {
        const bool prompt = s.computed < s.prompt;
        views.push_back(
            {s.computed, s.missing, prompt, s.begun, float(prompt ? 0 : time.promise_s - (clock - s.last))});
      }
    };
    const Limits limits{512, 16, 512, &time};
    for (show(); !waiting.empty() && kSarathiServe.admits(views, limits); show()) {
      running.push_back(waiting.front());
      waiting.pop_front();
    }
    std::vector<uint32_t> rows(running.size());
    kSarathiServe.pack(views, limits, rows);
    StepLoad load, generating;
    for (size_t i = 0; i < running.size(); ++i) {
      const uint64_t n = rows[i];
      if (n > 0) load.add(n, running[i].computed, n == running[i].missing);
      if (!views[i].prompt) generating.add(1, running[i].computed, 1);
      out.left_out += !views[i].prompt && n != 1;
    }
    if (load.rows == 0) {
      clock += 1e-3;
      continue;
    }
    const bool alone = time.bound(generating) > time.promise_s * 0.999;  // then those who generate exceed it themselves
    const double seconds = time.seconds(load) / time.correction().ratio * slower;
    clock += seconds;
    time.observe(load, seconds);
    for (size_t i = 0; i < running.size(); ++i) {
      Sequence& s = running[i];
      if (rows[i] == 0) continue;
      const bool first = s.computed < s.prompt;
      s.begun = true;
      s.computed += rows[i];
      s.missing -= rows[i];
      if (s.missing > 0) continue;
      if (!first) {
        ++out.gaps;
        const bool late = !alone && clock - s.last > time.promise_s * (1 + 1e-6);
        out.late += late;
        out.late_at_end += late && step > 300;
      }
      s.last = clock;
      s.missing = 1;
      --s.left;
    }
    std::erase_if(running, [](const Sequence& s) { return s.left == 0; });
  }
  out.unfinished = waiting.size() + running.size() + (60 - sent);
  return out;
}

}  // namespace

Status check_sarathi_serve(CheckContext& context) {
  for (const char* part : {"promises of single requests", "mode `deadline`", "rounding to the tile of a product",
                           "microbatches of equal time on a pipeline"})
    context.not_built(part);
  if (context.describe_only()) return {};
  Simulated exact, slow;
  const int streams = context.settings().quick ? 20 : 400;
  for (int i = 0; i < streams; ++i) {
    if (!context.proceed("streams", double(i) / streams)) return error(Code::cancelled, "stopped");
    StepTime time({{{1, 4e-3}, {4, 4.6e-3}, {8, 9e-3}, {64, 6e-2}, {512, 0.45}}, {{1, 0}, {16, 5e-3}}, 1e-6, 1e-6});
    time.promise_s = 0.05 + 0.01 * (i % 10);
    const auto add = [](Simulated* sum, const Simulated& s) {
      *sum = {sum->gaps + s.gaps, sum->late + s.late, sum->left_out + s.left_out, sum->unfinished + s.unfinished,
              sum->late_at_end + s.late_at_end};
    };
    add(&exact, simulate(time, 1, context.settings().seed + uint64_t(i)));
    add(&slow, simulate(time, 1.2, context.settings().seed + uint64_t(i)));
  }
  context.equal("gaps over the promise, exact curve", double(exact.late), 0, "", fmt::format("{} gaps", exact.gaps));
  context.equal("sequences left out of a step", double(exact.left_out + slow.left_out), 0);
  context.equal("requests that did not end", double(exact.unfinished + slow.unfinished), 0);
  context.at_most("gaps over the promise after 300 steps, machine a fifth slower",
                  double(slow.late_at_end) / double(std::max<uint64_t>(slow.gaps, 1)), 0.01);
  return {};
}

}  // namespace vibee
