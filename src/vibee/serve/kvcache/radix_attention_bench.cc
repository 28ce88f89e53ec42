// SPDX-License-Identifier: Apache-2.0
// v1674: operations on a tree of a million tokens, and 32 requests that share 150 of 180 prompt tokens, with the tree
// and without, turn by turn.
#include <algorithm>

#include "vibee/core/measure/measure.h"
#include "vibee/core/technique/context.h"
#include "vibee/kit/trial_model.h"
#include "vibee/serve/kvcache/radix_attention.h"

namespace vibee {

Status bench_radix_attention(BenchContext& context) {
  const KvLayout layout[] = {{KvFormat::f32, 1, 1}};  // small pages: only the tree is timed
  VIBEE_ASSIGN(PageStore store, PageStore::create(layout, 140000));
  RadixIndex index(&store);
  RandomStream random(context.settings().seed, Purpose::workload);
  // 500 conversations of 1000 tokens with 100 branches of 10 each: 50 000 leaves, a million tokens.
  std::vector<std::vector<int32_t>> trunks(500);
  std::vector<double> match, insert, evict;
  uint64_t tokens = 0;
  for (auto& trunk : trunks) {
    trunk.resize(1000);
    for (int32_t& t : trunk) t = int32_t(random.below(30000));
  }
  for (uint32_t i = 0; i < 50000; ++i) {
    if (i % 1000 == 0 && !context.proceed("building the tree", i / 50000.0)) return error(Code::cancelled, "stopped");
    std::vector<int32_t> t = trunks[i % 500];
    t.resize(1000 - random.below(400));
    for (int k = 0; k < 10; ++k) t.push_back(int32_t(random.below(30000)));
    const Timer a;
    SequenceState s = index.match(0, t);
    match.push_back(a.seconds());
    tokens += t.size() - s.length();
    VIBEE_TRY(s.reserve(uint32_t(t.size()) - s.length()));
    s.commit(uint32_t(t.size()) - s.length());
    const Timer b;
    index.insert(0, t, s);
    insert.push_back(b.seconds());
  }
  for (int i = 0; i < 20000; ++i) {
    const Timer timer;
    if (!index.evict()) break;
    evict.push_back(timer.seconds());
  }
  const std::string note = fmt::format("{} tokens inserted, {} nodes", tokens, index.nodes());
  context.figure("match of 600 to 1000 tokens, median", 1e6 * median(match), "us", 0, note);
  context.figure("match, p99", 1e6 * quantile(match, 0.99), "us");
  context.figure("insert of 10 tokens, median", 1e6 * median(insert), "us");
  context.figure("evict of a page, median", 1e6 * median(evict), "us");
  context.target("the slowest of the three under 20 us",
                 20e-6 / std::max({median(match), median(insert), median(evict)}), "x", 1);
  context.figure("memory beside the pages", double(index.bytes()) / 1e6, "MB");

  VIBEE_ASSIGN(const TrialModel model, TrialModel::make(context.settings(), true));
  VIBEE_ASSIGN(const auto session, model.session({256, 32, 256, 32, KvFormat::f16}));
  std::vector<TrialRequest> requests;
  for (uint32_t i = 0; i < 32; ++i) {
    TrialRequest r{model.prompt(150, 0), 32, 0};
    const auto own = model.prompt(30, 1 + i);
    r.prompt.insert(r.prompt.end(), own.begin(), own.end());
    requests.push_back(std::move(r));
  }
  std::vector<double> rate, first;
  double rows = 0;
  for (int i = 0; i < (context.settings().quick ? 3 : 7); ++i) {
    if (!context.proceed("32 requests", i / 7.0)) return error(Code::cancelled, "stopped");
    VIBEE_ASSIGN(const Trial off, run_trial(*session, {}, requests));
    RadixIndex cold(&session->pages());
    EngineOptions with;
    with.prefix = &cold;
    VIBEE_ASSIGN(const Trial on, run_trial(*session, with, requests));
    rate.push_back(on.rate() / off.rate());
    first.push_back(quantile(off.first_token_s, 0.95) / quantile(on.first_token_s, 0.95));
    rows = double(on.stats.prompt_rows);
  }
  const double ideal = double(32 * (180 + 31)) / (rows + 32 * 31);
  context.figure("tokens a second, on over off, nothing stored before", median(rate), "x", ideal,
                 "ceiling: all rows over rows computed");
  context.figure("p95 of the first token, off over on", median(first), "x");
  context.figure("prompt rows computed of 5760", rows, "");
  return {};
}

}  // namespace vibee
