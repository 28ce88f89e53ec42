// SPDX-License-Identifier: Apache-2.0
// v1674: matches against a plain list of sequences, and answers that do not know whether anything was reused.
#include <algorithm>

#include "vibee/core/technique/context.h"
#include "vibee/kit/trial_model.h"
#include "vibee/serve/kvcache/radix_attention.h"

namespace vibee {

Status check_radix_attention(CheckContext& context) {
  for (const char* part :
       {"orders by longest prefix and depth first", "matches of waiting requests kept up to date",
        "eviction by frequency, cost and priority", "forks for several completions", "snapshots to a file"})
    context.not_built(part);
  if (context.describe_only()) return {};
  const KvLayout layout[] = {{KvFormat::f32, 1, 8}};
  VIBEE_ASSIGN(PageStore store, PageStore::create(layout, 60000));
  size_t wrong = 0, compared = 0;
  {
    RadixIndex index(&store);
    RandomStream random(context.settings().seed, Purpose::test);
    std::vector<std::vector<int32_t>> all;
    const int operations = context.settings().quick ? 1500 : 20000;
    for (int i = 0; i < operations; ++i) {
      if (i % 100 == 0 && !context.proceed("operations", double(i) / operations))
        return error(Code::cancelled, "stopped");
      std::vector<int32_t> t;
      if (!all.empty() && random.below(5)) {
        t = all[random.below(uint32_t(all.size()))];
        t.resize(1 + random.below(uint32_t(t.size())));
      }
      for (uint32_t n = 1 + random.below(60); n > 0; --n) t.push_back(int32_t(random.below(4)));
      size_t longest = 0;
      for (const auto& other : all) {
        const size_t n = std::min(t.size(), other.size());
        longest = std::max(longest,
                           size_t(std::mismatch(t.begin(), t.begin() + ptrdiff_t(n), other.begin()).first - t.begin()));
      }
      SequenceState s = index.match(0, t);
      wrong += s.length() != longest;
      ++compared;
      if (all.size() >= 400) continue;
      VIBEE_TRY(s.reserve(uint32_t(t.size()) - s.length()));
      s.commit(uint32_t(t.size()) - s.length());
      index.insert(0, t, s);
      all.push_back(std::move(t));
    }
  }
  context.equal("matches unlike those of a plain list", double(wrong), 0, "", fmt::format("{} matches", compared));
  context.equal("pages lost", double(store.pages() - store.free_pages()), 0);

  VIBEE_ASSIGN(const TrialModel model, TrialModel::make(context.settings(), false));
  std::vector<TrialRequest> requests;
  RandomStream random(context.settings().seed + 1, Purpose::test);
  for (uint32_t i = 0; i < 30; ++i) {
    TrialRequest r{model.prompt(70, i % 3), 1 + random.below(20), 0};
    r.prompt.resize(1 + random.below(70));
    const auto own = model.prompt(random.below(30), 100 + i);
    r.prompt.insert(r.prompt.end(), own.begin(), own.end());
    requests.push_back(std::move(r));
  }
  SessionOptions o{128, 4, 40, 4, KvFormat::f16};
  o.pages = 26;  // what is kept must often go
  std::vector<std::vector<int32_t>> want;
  uint64_t reused = 0;
  size_t differing = 0;
  for (const bool on : {false, true}) {
    VIBEE_ASSIGN(const auto session, model.session(o));
    RadixIndex index(&session->pages());
    EngineOptions options;
    options.prefix = on ? &index : nullptr;
    VIBEE_ASSIGN(const Trial trial, run_trial(*session, options, requests));
    if (!on) want = trial.tokens;
    for (size_t i = 0; i < requests.size(); ++i) differing += trial.tokens[i] != want[i];
    reused += trial.stats.reused_tokens;
  }
  context.equal("answers that depend on reuse", double(differing), 0, "",
                fmt::format("30 requests, {} tokens reused", reused));
  context.at_least("tokens reused", double(reused), 100);
  return {};
}

}  // namespace vibee
