// SPDX-License-Identifier: Apache-2.0
// v1673: a prompt whose first 2048 tokens were computed before against computing all of it, what the index costs where
// nothing is shared, and the time of a lookup.
#include <algorithm>

#include "vibee/core/measure/measure.h"
#include "vibee/core/technique/context.h"
#include "vibee/kit/temp_folder.h"
#include "vibee/kit/trial_model.h"
#include "vibee/serve/kvcache/disk_tier.h"
#include "vibee/serve/kvcache/prefix_caching.h"

namespace vibee {
namespace {

/// Lookups of a prompt of 2048 tokens among 32 of them.
Status bench_lookup(BenchContext& context) {
  const KvLayout layout[] = {{KvFormat::f32, 1, 1}};  // small pages: only the index is timed
  VIBEE_ASSIGN(PageStore store, PageStore::create(layout, 8192));
  HashIndex index(&store);
  RandomStream random(context.settings().seed, Purpose::workload);
  std::vector<std::vector<int32_t>> prompts(32);
  for (auto& prompt : prompts) {
    prompt.resize(2048);
    for (int32_t& t : prompt) t = int32_t(random.below(30000));
    SequenceState s(&store);
    VIBEE_TRY(s.reserve(2048));
    s.commit(2048);
    index.insert(0, prompt, s);
  }
  std::vector<double> times;
  for (int i = 0; i < 2001; ++i) {
    const Timer timer;
    const SequenceState s = index.match(0, prompts[random.below(32)]);
    times.push_back(timer.seconds());
  }
  context.target("6 us over the time of a lookup of 2048 tokens", 6e-6 / median(times), "x", 1,
                 fmt::format("median {:.1f} us", 1e6 * median(times)));
  context.figure("memory beside the pages", double(index.bytes()) / double(store.pages()), "B a page");
  return {};
}

/// Bytes a second of a file that was just written, read page by page.
Result<double> read_rate(const std::string& path) {
  VIBEE_ASSIGN(const auto source, open_file_source(path));
  std::vector<uint8_t> chunk(256 << 10);
  const uint64_t chunks = source->size() / chunk.size();
  const Timer timer;
  for (uint64_t i = 0; i < chunks; ++i) VIBEE_TRY(source->read(i * chunk.size(), chunk));
  return double(chunks * chunk.size()) / timer.seconds();
}

}  // namespace

Status bench_prefix_caching(BenchContext& context) {
  VIBEE_TRY(bench_lookup(context));
  VIBEE_ASSIGN(const TrialModel model, TrialModel::make(context.settings(), true));
  const uint32_t own = 32, length = 2048;
  VIBEE_ASSIGN(const auto session, model.session({length + own + 16, 3, 256, 1, KvFormat::f16}));
  const auto request = [&](uint64_t head, uint64_t tail) {
    TrialRequest r{model.prompt(length, head), 1, 0};
    const auto end = model.prompt(own, 1000 + tail);
    r.prompt.insert(r.prompt.end(), end.begin(), end.end());
    return r;
  };
  std::vector<double> gain, overhead, restart, store, most;
  const TempFolder folder;
  double megabytes = 0;
  for (uint64_t i = 0; i < (context.settings().quick ? 3u : 7u); ++i) {
    if (!context.proceed("2048 tokens", double(i) / 7)) return error(Code::cancelled, "stopped");
    HashIndex index(&session->pages());
    EngineOptions with;
    with.prefix = &index;
    const TrialRequest first[] = {request(i, 2 * i)}, second[] = {request(i, 2 * i + 1)};
    VIBEE_ASSIGN(const Trial off, run_trial(*session, {}, first));
    VIBEE_ASSIGN(const Trial cold, run_trial(*session, with, first));
    VIBEE_ASSIGN(const Trial hit, run_trial(*session, with, second));
    gain.push_back(cold.first_token_s[0] / hit.first_token_s[0]);
    overhead.push_back(100 * (cold.first_token_s[0] / off.first_token_s[0] - 1));
    // Twice with the folder: the first writes it, the second is a new index that knows nothing.
    for (const bool again : {false, true}) {
      VIBEE_ASSIGN(const auto tier,
                   DiskTier::open({folder.path(), 4ull << 30, "bench", "bench", length + own + 16}, &session->pages()));
      HashIndex fresh(&session->pages());
      fresh.set_tier(tier.get());
      EngineOptions disk;
      disk.prefix = &fresh;
      VIBEE_ASSIGN(const Trial trial, run_trial(*session, disk, again ? second : first));
      tier->flush();
      megabytes = double(tier->stats().log.bytes) / 1e6 / double(i + 1);
      (again ? restart : store).push_back(cold.first_token_s[0] / trial.first_token_s[0]);
    }
    VIBEE_ASSIGN(const double rate, read_rate(folder.path() + "/00000001.kv"));
    most.push_back(cold.first_token_s[0] / (hit.first_token_s[0] + megabytes * 1e6 / rate));
  }
  context.target("first token of 2080, computed over reused", median(gain), "x", 30, "2048 shared; median of pairs");
  context.figure("cost where nothing is shared", median(overhead), "%", 0.5, "the ceiling is the target");
  context.target("first token of 2080 after a restart, computed over loaded", median(restart), "x", 0.7 * median(most),
                 fmt::format("{:.0f} MB a prompt; 0.7 of what reading its bytes plainly allows", megabytes));
  context.figure("first token of 2080, without a disk over with one that is written", median(store), "x", 1);
  return {};
}

}  // namespace vibee
