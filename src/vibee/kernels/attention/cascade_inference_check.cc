// SPDX-License-Identifier: Apache-2.0
// v1675: steps over random forests of shared pages give the bytes that they give without a cascade, and a group reads a
// page once.
#include <algorithm>
#include <cstring>
#include <set>

#include "vibee/core/technique/context.h"
#include "vibee/kernels/attention/batch_cases.h"

namespace vibee {
namespace {

/// Up to four levels: a sequence shares a random part of one that came before it, which shares part of another.
std::vector<StepSequence> forest(RandomStream& random) {
  std::vector<StepSequence> out;
  const uint32_t n = 1 + random.below(random.below(8) == 0 ? 64 : 12), levels = 1 + random.below(4);
  std::vector<uint32_t> depth;
  for (uint32_t i = 0; i < n; ++i) {
    StepSequence s{1 + random.below(300), random.below(6) == 0 ? 1 + random.below(20) : 1};
    s.length = std::max(s.length, s.rows);
    uint32_t mine = 0;
    if (i == 0) s.length += random.below(900);
    if (i > 0 && random.below(10) != 0) {
      s.like = random.below(i);
      mine = depth[s.like] + 1;
      if (mine <= levels) {
        s.shared = out[s.like].length - out[s.like].rows;  // what it stores before this step
        if (random.below(2) == 0) s.shared = random.below(s.shared + 1);
        s.length = s.shared + s.length;
      }
    }
    depth.push_back(mine);
    out.push_back(s);
  }
  return out;
}

struct Counts {
  size_t differing = 0, values = 0, grouped = 0, chosen = 0, over = 0;
};

Status compare(const RunSettings& settings, RandomStream& random, KvFormat format, Counts& c) {
  const uint32_t groups[] = {1, 3, 8}, kv = 1 + random.below(3), group = groups[random.below(3)];
  const AttentionShape shape{kv * group,
                             kv,
                             32,
                             0.177f,
                             random.below(4) == 0 ? 20.0f : 0.0f,
                             random.below(3) == 0 ? 1 + random.below(900) : 0};
  const StoredStep step(shape, format, forest(random), random.below(1u << 30));
  const AttentionKernel& kernel = attention_kernel(format, settings.isa);
  std::vector<float> want;
  uint64_t apart = 0;
  for (const uint32_t threads : {1u, 2u})
    for (const Cascade cascade : {Cascade::off, Cascade::always, Cascade::automatic}) {
      WorkList list(shape, kernel.tile, step.rows(), threads, step.slots());
      list.plan(step.sequences(), {true, true, cascade});
      Team team(threads);
      std::vector<FoldState> parts(size_t(step.slots()) * shape.group());
      std::vector<float> out = step.outputs();
      step.run(kernel, list, team, parts, out.data());
      if (want.empty()) want = out;
      for (size_t i = 0; i < out.size(); ++i) c.differing += std::memcmp(&out[i], &want[i], 4) != 0;
      c.values += out.size();
      uint64_t longest = 0;
      bool grouped = false;
      for (uint32_t t = 0; t < threads; ++t) {
        longest = std::max(longest, list.cost(t));
        for (const WorkItem& item : list.items(t)) grouped |= item.members != 0;
      }
      if (cascade == Cascade::off) apart = longest;
      if (cascade == Cascade::always) c.grouped += grouped;
      if (cascade == Cascade::automatic) {
        c.chosen += grouped;
        c.over += longest > apart;
      }
    }
  return {};
}

/// Pages that items read in splits, each counted once an item, over the pages that there are.
double reads_a_page(const AttentionShape& shape, const StoredStep& step, const WorkList& list, uint32_t tile) {
  std::set<uint32_t> all;
  uint64_t reads = 0;
  for (const WorkItem& item : list.items(0)) {
    if (item.head != 0) continue;
    std::set<uint32_t> mine;
    const auto take = [&](const SequenceRows& s, uint32_t split) {
      const uint32_t end = (s.first + s.rows + kPageTokens - 1) / kPageTokens;
      for (uint32_t p = split * kSplitKeys / kPageTokens; p < std::min(end, (split + 1) * kSplitKeys / kPageTokens);
           ++p)
        mine.insert(s.pages[p]);
    };
    if (item.members == 0) {
      for (uint32_t split = item.splits.begin; split < item.splits.end; ++split)
        take(step.sequences()[item.sequence], split);
    } else {
      const auto members = list.members(item);
      each_stack(shape, step.sequences(), members, std::max(1u, tile / item.heads),
                 [&](uint32_t split, uint32_t first, uint32_t) { take(step.sequences()[members[first]], split); });
    }
    reads += mine.size();
    all.merge(mine);
  }
  for (const SequenceRows& s : step.sequences())
    for (uint32_t p = 0; p < (s.first + s.rows + kPageTokens - 1) / kPageTokens; ++p)
      if (!all.contains(s.pages[p])) return 0;  // one was not read at all
  return double(reads) / double(all.size());
}

}  // namespace

Status check_cascade_inference(CheckContext& context) {
  for (const char* part :
       {"cascades of models: scores, calibrated deferral, routers, draft reuse",
        "pages shared in a part of a split (the last 0 to 255 positions of a shared prefix are read by each row)",
        "groups of rows of prompts", "merges of partial results and the CUDA kernel"})
    context.not_built(part);
  if (context.describe_only()) return {};
  RandomStream random(context.settings().seed, Purpose::test, 1675);
  const int forests = context.settings().quick ? 60 : 300;
  Counts c;
  for (int i = 0; i < forests; ++i) {
    if (!context.proceed("forests", double(i) / forests)) return error(Code::cancelled, "stopped");
    VIBEE_TRY(compare(context.settings(), random, kKvFormats[i % std::size(kKvFormats)].format, c));
  }
  context.equal("values unlike those without a cascade", double(c.differing), 0, "",
                fmt::format("{} values of {} forests, groups of 1, 3 and 8 heads, every format, 1 and 2 threads",
                            c.values, forests));
  context.at_least("steps with groups", double(c.grouped), forests / 3.0, "",
                   fmt::format("of {}; chosen in {}", 2 * forests, c.chosen));
  context.at_least("steps in which the cascade was chosen", double(c.chosen), forests / 10.0);
  context.equal("choices that count as slower", double(c.over), 0);

  const AttentionShape shape{9, 3, 32, 0.177f, 0, 0};
  std::vector<StepSequence> what = {{1100, 1}};
  for (uint32_t i = 1; i < 32; ++i) what.push_back({1024 + 20 + i, 1, 1024, 0});
  const StoredStep step(shape, KvFormat::f16, what, context.settings().seed);
  const uint32_t tile = attention_kernel(KvFormat::f16, context.settings().isa).tile;
  WorkList list(shape, tile, step.rows(), 1, 0);
  list.plan(step.sequences(), {true, true, Cascade::off});
  const double apart = reads_a_page(shape, step, list, tile);
  list.plan(step.sequences(), {true, true, Cascade::always});
  context.equal("reads of a page, 32 sequences of one thread", reads_a_page(shape, step, list, tile), 1, "",
                fmt::format("{:.1f} without a cascade", apart));
  return {};
}

}  // namespace vibee
