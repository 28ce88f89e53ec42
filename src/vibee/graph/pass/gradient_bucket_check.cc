// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <random>

#include "vibee/core/technique/context.h"
#include "vibee/kit/trial_training.h"

namespace vibee {
namespace {

/// The earliest finish of all cuts of what is behind `begin`, by trying them.
double exhaustive(std::span<const double> ready, std::span<const uint64_t> bytes, std::vector<size_t>* ends,
                  const LinkCost& link) {
  const size_t begin = ends->empty() ? 0 : ends->back();
  if (begin == bytes.size()) return bucket_finish(ready, bytes, *ends, link);
  double best = INFINITY;
  for (size_t end = begin + 1; end <= bytes.size(); ++end) {
    ends->push_back(end);
    best = std::min(best, exhaustive(ready, bytes, ends, link));
    ends->pop_back();
  }
  return best;
}

}  // namespace

Status check_gradient_bucket(CheckContext& context) {
  context.not_built("--bucket auto: a cut from the measured trace (best_bucket_ends finds it, no run asks)");
  context.not_built("reduce-scatter, sparse rows, the cut in the checkpoint");
  if (context.describe_only()) return {};

  std::mt19937 random(uint32_t(context.settings().seed));
  const int instances = 500;
  int equal = 0;
  for (int instance = 0; instance < instances; ++instance) {
    const size_t n = 1 + random() % 10;
    std::vector<double> ready(n);
    std::vector<uint64_t> bytes(n);
    double time = 0;
    for (size_t i = 0; i < n; ++i) {
      ready[i] = time += double(random() % 1000);
      bytes[i] = random() % 4096;
    }
    const LinkCost link{double(random() % 300), double(random() % 100) / 100};
    std::vector<size_t> none;
    const double best = exhaustive(ready, bytes, &none, link);
    equal += std::fabs(bucket_finish(ready, bytes, best_bucket_ends(ready, bytes, link), link) - best) <= 1e-9 * best;
  }
  context.equal("random instances whose cut is the best of all cuts", equal, instances);

  TrialTraining trial;
  trial.options.shares = 2;
  VIBEE_ASSIGN(const TrialTraining::Run one, trial.run(0));
  size_t tensors = 0;
  for (const BucketRule rule : {BucketRule{1, 1}, {4096, 32768}, {UINT64_MAX, UINT64_MAX}}) {
    trial.options.buckets = rule;
    VIBEE_ASSIGN(const TrialTraining::Run run, trial.run(2));
    const size_t buckets = run.trace.communicate.size();
    if (rule.bytes == 1) tensors = buckets;
    context.equal(fmt::format("{} buckets: bytes equal to one rank's", buckets), run.state == one.state, 1);
    uint64_t bytes = 0;
    for (const CommThread::Span& span : run.trace.communicate) bytes += span.bytes;
    // Weights are rounded tensor by tensor like gradients, and the loss has 64 bytes.
    VIBEE_ASSIGN(const TrainStep::Memory memory, trial.memory());
    context.equal("bytes of gradients that go over ranks", double(bytes), double(memory.weights + 64), "B");
    if (rule.bytes == UINT64_MAX) context.equal("buckets where one is for all", double(buckets), 1);
  }
  context.at_least("buckets of one tensor each", double(tensors), 10);
  return {};
}

}  // namespace vibee
