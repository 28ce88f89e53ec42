// SPDX-License-Identifier: Apache-2.0
// v1692: on random batches every (row, head, visible split) is covered exactly once, no thread gets more than the
// mean and the largest item, and outputs do not depend on the division.
#include <algorithm>
#include <cstring>
#include <map>
#include <tuple>

#include "vibee/core/technique/context.h"
#include "vibee/kernels/attention/batch_cases.h"

namespace vibee {
namespace {

struct Coverage {
  uint64_t wrong = 0, over = 0, batches = 0;
};

/// Counts of every (sequence, row, KV head, split) in the list, against what the rows may see.
void cover(const AttentionShape& shape, std::span<const SequenceRows> sequences, const WorkList& list, uint32_t threads,
           Coverage& c) {
  std::map<std::tuple<uint32_t, uint32_t, uint32_t, uint32_t>, uint32_t> seen;
  std::map<uint32_t, uint32_t> slots;  // slot -> writers
  uint64_t largest = 0, sum = 0;
  for (uint32_t tid = 0; tid < threads; ++tid) {
    for (const WorkItem& item : list.items(tid)) {
      for (uint32_t row = item.row; row < item.row + item.rows; ++row)
        for (uint32_t h = item.head; h < item.head + item.heads; ++h)
          for (uint32_t s = item.splits.begin; s < item.splits.end; ++s) ++seen[{item.sequence, row, h, s}];
      if (item.part != WorkItem::kWhole)
        for (uint32_t s = item.splits.begin; s < item.splits.end; ++s) ++slots[item.part + s - item.splits.begin];
    }
    sum += list.cost(tid);
  }
  for (uint32_t i = 0; i < sequences.size(); ++i)
    for (uint32_t row = 0; row < sequences[i].rows; ++row) {
      const SplitRange range = visible_splits(shape, last_key(shape, sequences[i], row), 1);
      for (uint32_t h = 0; h < shape.heads; ++h)
        for (uint32_t s = range.begin; s < range.end; ++s) {
          const auto at = seen.find({i, row, h, s});
          c.wrong += at == seen.end() || at->second != 1;
        }
    }
  for (const auto& [slot, writers] : slots) c.wrong += writers != 1;
  for (uint32_t tid = 0; tid < threads; ++tid)
    for (const MergeItem& m : list.merges(tid))
      for (uint32_t s = 0; s < m.splits; ++s) c.wrong += slots.count(m.part + s) != 1;
  for (uint32_t tid = 0; tid < threads; ++tid)
    for (const WorkItem& item : list.items(tid)) largest = std::max(largest, list.cost_of(item, sequences));
  for (uint32_t tid = 0; tid < threads; ++tid) c.over += list.cost(tid) > sum / threads + largest;
  ++c.batches;
}

}  // namespace

Status check_flashinfer(CheckContext& context) {
  for (const char* part : {"custom masks", "plan dump"}) context.not_built(part);
  context.needs_device("cuda", "");
  if (context.describe_only()) return {};
  RandomStream random(context.settings().seed, Purpose::test, 1692);
  const int batches = context.settings().quick ? 100 : 500;
  Coverage coverage;
  for (int b = 0; b < batches; ++b) {
    if (!context.proceed("flashinfer", double(b) / batches)) return error(Code::cancelled, "stopped");
    const uint32_t kv = 1 + random.below(4), group = 1 + random.below(17);
    AttentionShape shape{kv * group, kv, 64, 0.125f, 0, random.below(3) == 0 ? 1 + random.below(2000) : 0};
    shape.causal = shape.window != 0 || random.below(3) != 0;
    std::vector<SequenceRows> sequences;
    uint32_t row = 0;
    const bool decode = random.below(2) == 0;
    for (uint32_t n = 1 + random.below(6); n > 0; --n) {
      const uint32_t rows = decode ? 1 : 1 + random.below(200), first = random.below(5000);
      sequences.push_back({row, rows, first, nullptr});
      row += rows;
    }
    const uint32_t threads = 1 + random.below(8), slots = random.below(4) == 0 ? 0 : 1024;
    WorkList list(shape, 12, row, threads, slots);
    for (int again = 0; again < 2; ++again) list.plan(sequences, {true, true});  // a list is used step after step
    cover(shape, sequences, list, threads, coverage);
  }
  context.equal("(row, head, split) not covered exactly once", double(coverage.wrong), 0, "",
                fmt::format("{} random batches", coverage.batches));
  context.equal("threads above the mean and the largest item", double(coverage.over), 0);

  const AttentionShape shape{8, 2, 32, 0.177f, 0, 0};
  const StepSequence one[] = {{900, 1}, {64, 30}, {300, 1}, {17, 17}};
  const AttentionKernel& kernel = attention_kernel(KvFormat::f32, context.settings().isa);
  const StoredStep step(shape, KvFormat::f32, one, context.settings().seed);
  std::vector<float> want;
  size_t differing = 0;
  for (const bool balance : {false, true})
    for (const uint32_t threads : {1u, 2u, 5u}) {
      WorkList list(shape, kernel.tile, step.rows(), threads, step.slots());
      list.plan(step.sequences(), {balance, true});
      Team team(threads);
      std::vector<FoldState> parts(size_t(step.slots()) * shape.group());
      std::vector<float> out = step.outputs();
      step.run(kernel, list, team, parts, out.data());
      if (want.empty()) want = out;
      for (size_t i = 0; i < out.size(); ++i) differing += std::memcmp(&out[i], &want[i], 4) != 0;
    }
  context.equal("values that depend on the division", double(differing), 0, "", fmt::format("{} values", want.size()));
  return {};
}

}  // namespace vibee
