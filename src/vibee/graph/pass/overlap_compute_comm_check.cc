// SPDX-License-Identifier: Apache-2.0
#include "vibee/core/technique/context.h"
#include "vibee/kit/trial_training.h"

namespace vibee {

Status check_overlap_compute_comm(CheckContext& context) {
  context.not_built("overlap of parameters (ZeRO 3), tensor parallel products, experts and pipelines");
  context.not_built("a list scheduler, and a prediction beside the measured trace");
  if (context.describe_only()) return {};

  TrialTraining trial;
  trial.options.shares = 4;
  trial.options.clip = 0.5;
  trial.steps = 20;
  trial.options.buckets = {2048, 16384};
  trial.link = {2e-4, 0};
  VIBEE_ASSIGN(const TrialTraining::Run one, trial.run(0));
  for (const bool overlap : {false, true})
    for (const uint32_t ranks : {2, 4}) {
      trial.options.overlap = overlap;
      VIBEE_ASSIGN(const TrialTraining::Run run, trial.run(ranks));
      const std::string name = fmt::format("{} ranks, overlap {}", ranks, overlap ? "on" : "off");
      context.equal(name + ": bytes of 20 steps equal to one rank's", run.state == one.state, 1);
      // Happens before: a bucket is full behind the beginning of the last share's pass, later ones are not fuller
      // earlier, the update reads all of them; without overlap all is behind the pass.
      const std::vector<TimeSpan> compute = run.compute(), communicate = run.communicate();
      bool ordered = !communicate.empty() && !compute.empty();
      for (size_t i = 0; i < communicate.size(); ++i) {
        const TimeSpan span = communicate[i];
        ordered &= span.begin >= (overlap ? compute.back().begin : compute.back().end) && span.end >= span.begin;
        ordered &= i == 0 || span.begin >= communicate[i - 1].begin;
        ordered &= span.end <= run.trace.update.begin;
      }
      context.equal(name + ": the trace is ordered", ordered, 1);
      if (overlap) {
        context.at_least(name + ": buckets sent inside the pass",
                         double(std::count_if(communicate.begin(), communicate.end(),
                                              [&](TimeSpan s) { return s.begin < compute.back().end; })),
                         2);
        context.at_least(name + ": hidden share of the communication", hidden_share(compute, communicate), 1e-6);
      } else {
        context.equal(name + ": hidden share of the communication", hidden_share(compute, communicate), 0);
      }
    }
  return {};
}

}  // namespace vibee
