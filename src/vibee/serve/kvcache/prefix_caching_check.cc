// SPDX-License-Identifier: Apache-2.0
// v1673: matches against a plain list of sequences, with names that collide and without, and answers that do not know
// whether anything was reused.
#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "vibee/core/technique/context.h"
#include "vibee/kit/temp_folder.h"
#include "vibee/kit/trial_model.h"
#include "vibee/serve/kvcache/disk_tier.h"
#include "vibee/serve/kvcache/prefix_caching.h"

namespace vibee {
namespace {

using Tokens = std::vector<int32_t>;

uint32_t shared(const Tokens& a, const Tokens& b) {
  const size_t n = std::min(a.size(), b.size());
  return uint32_t(std::mismatch(a.begin(), a.begin() + ptrdiff_t(n), b.begin()).first - a.begin());
}

/// Sequences that write (space, token) into their pages in place of keys, so that a reused page can be read back.
struct Sequences {
  PageStore& store;
  Status write(SequenceState* s, uint64_t space, const Tokens& tokens) const {
    const uint32_t from = s->length(), n = uint32_t(tokens.size()) - from;
    VIBEE_TRY(s->reserve(n));
    for (uint32_t at = from; at < tokens.size(); ++at) {
      const int32_t value = tokens[at] * 2 + int32_t(space);
      std::memcpy(store.bytes_of(s->pages()[at / kPageTokens]).data() + at % kPageTokens * 4, &value, 4);
    }
    s->commit(n);
    return {};
  }
  uint32_t wrong(const SequenceState& s, uint64_t space, const Tokens& tokens) const {
    uint32_t n = 0;
    for (uint32_t at = 0; at < s.length(); ++at) {
      int32_t value;
      std::memcpy(&value, store.bytes_of(s.pages()[at / kPageTokens]).data() + at % kPageTokens * 4, 4);
      n += value != tokens[at] * 2 + int32_t(space);
    }
    return n;
  }
};

Tokens stream(RandomStream& random, const std::vector<Tokens>& all) {
  Tokens t;
  if (!all.empty() && random.below(5) != 0) {
    t = all[random.below(uint32_t(all.size()))];
    t.resize(1 + random.below(uint32_t(t.size())));
  }
  for (uint32_t n = 1 + random.below(60); n > 0; --n) t.push_back(int32_t(random.below(3)));
  return t;
}

/// Everything fits: lengths are those of a plain list, whatever the names are.
Status check_lengths(CheckContext& context) {
  const KvLayout layout[] = {{KvFormat::f32, 1, 8}};
  size_t wrong = 0, compared = 0;
  for (const uint64_t mask : {~0ull, 0xffull}) {
    VIBEE_ASSIGN(PageStore store, PageStore::create(layout, 20000));
    HashIndex index(&store, mask);
    const Sequences sequences{store};
    RandomStream random(context.settings().seed, Purpose::test, 1673);
    std::vector<Tokens> all[2];
    for (int i = 0; i < (context.settings().quick ? 1500 : 10000); ++i) {
      if (!context.proceed("matches", i / 10000.0)) return error(Code::cancelled, "stopped");
      const uint64_t space = random.below(2);
      const Tokens t = stream(random, all[space]);
      uint32_t whole = 0;  // tokens in whole pages that somebody published
      for (const Tokens& other : all[space]) {
        const auto stored = uint32_t(other.size()) / kPageTokens * kPageTokens;
        whole = std::max(whole, std::min(shared(t, other), stored));
      }
      SequenceState s = index.match(space, t);
      wrong += s.length() < whole / kPageTokens * kPageTokens || s.length() > whole || sequences.wrong(s, space, t);
      ++compared;
      if (all[space].size() >= 200) continue;
      VIBEE_TRY(sequences.write(&s, space, t));
      index.insert(space, t, s);
      all[space].push_back(t);
    }
    index.clear();
    wrong += store.free_pages() != store.pages();
  }
  context.equal("matches unlike those of a plain list", double(wrong), 0, "",
                fmt::format("{} matches in two spaces, names of 128 and of 8 bits", compared));
  return {};
}

/// 40 pages: what is found is right, and no page is lost.
Status check_pressure(CheckContext& context) {
  const KvLayout layout[] = {{KvFormat::f32, 1, 8}};
  VIBEE_ASSIGN(PageStore store, PageStore::create(layout, 40));
  size_t wrong = 0, lost = 0;
  uint64_t found = 0, evicted = 0;
  for (const uint64_t mask : {~0ull, 0xffull}) {
    HashIndex index(&store, mask);
    const Sequences sequences{store};
    RandomStream random(context.settings().seed + 1, Purpose::test, 1673);
    std::vector<Tokens> all;
    std::vector<SequenceState> live;
    for (int i = 0; i < 4000; ++i) {
      if (live.size() > 2) live.erase(live.begin() + random.below(uint32_t(live.size())));
      const uint64_t space = random.below(2);
      Tokens t = stream(random, all);
      if (t.size() > 120) t.resize(120);
      SequenceState s = index.match(space, t);
      found += s.length();
      wrong += sequences.wrong(s, space, t);
      const uint32_t need = s.pages_for(uint32_t(t.size()) - s.length());
      const uint32_t counted = index.evictable();
      uint32_t given = 0;
      while (store.free_pages() < need && index.evict()) ++given;
      lost += given > counted || (store.free_pages() < need && given != counted);
      if (store.free_pages() < need) continue;
      VIBEE_TRY(sequences.write(&s, space, t));
      index.insert(space, t, s);
      live.push_back(std::move(s));
      if (all.size() < 100) all.push_back(t);
    }
    evicted += index.evicted();
    live.clear();
    while (index.evict()) {
    }
    lost += store.pages() - store.free_pages();
  }
  context.equal("reused tokens that are others", double(wrong), 0, "",
                fmt::format("{} tokens found, {} pages evicted", found, evicted));
  context.equal("pages lost or counted wrongly", double(lost), 0);
  return {};
}

/// The same requests with the cache and without, and with names of 8 bits.
Status check_answers(CheckContext& context) {
  VIBEE_ASSIGN(const TrialModel model, TrialModel::make(context.settings(), false));
  RandomStream random(context.settings().seed + 2, Purpose::test, 1673);
  size_t differing = 0, streams = 0;
  uint64_t reused = 0;
  for (int round = 0; round < (context.settings().quick ? 6 : 25); ++round) {
    if (!context.proceed("answers", round / 25.0)) return error(Code::cancelled, "stopped");
    std::vector<TrialRequest> requests;
    for (uint32_t i = 0; i < 8; ++i) {
      TrialRequest r{model.prompt(70, uint64_t(round) * 100 + i % 3), 1 + random.below(12), 0, random.below(4) / 3};
      r.prompt.resize(1 + random.below(70));
      const auto own = model.prompt(random.below(30), uint64_t(round) * 100 + 10 + i);
      r.prompt.insert(r.prompt.end(), own.begin(), own.end());
      requests.push_back(std::move(r));
    }
    SessionOptions o{128, 4, 40, 4, KvFormat::f16};
    o.pages = 26;  // what is kept must often go
    VIBEE_ASSIGN(const auto session, model.session(o));
    VIBEE_ASSIGN(const Trial want, run_trial(*session, {}, requests));
    for (const uint64_t mask : {~0ull, 0xffull}) {
      HashIndex index(&session->pages(), mask);
      EngineOptions options;
      options.prefix = &index;
      VIBEE_ASSIGN(const Trial got, run_trial(*session, options, requests));
      for (size_t i = 0; i < requests.size(); ++i) differing += got.tokens[i] != want.tokens[i];
      streams += requests.size();
      reused += got.stats.reused_tokens;
    }
  }
  context.equal("answers that depend on reuse", double(differing), 0, "",
                fmt::format("{} requests, {} tokens reused", streams, reused));
  context.at_least("tokens reused", double(reused), 500);
  return {};
}

/// Restarts with a folder in which a bit flips or an end is missing each time: answers stay, bad records are counted.
Status check_disk(CheckContext& context) {
  VIBEE_ASSIGN(const TrialModel model, TrialModel::make(context.settings(), false));
  const TempFolder folder;
  const std::string file = folder.path() + "/00000001.kv";
  const SessionOptions o{128, 2, 40, 2, KvFormat::f16};
  TrialRequest request{model.prompt(100, 1), 4, 0};
  std::vector<int32_t> want;
  {
    VIBEE_ASSIGN(const auto session, model.session(o));
    VIBEE_ASSIGN(const Trial trial, run_trial(*session, {}, {&request, 1}));
    want = trial.tokens[0];
  }
  RandomStream random(context.settings().seed + 3, Purpose::test, 1673);
  uint64_t loaded = 0, bad = 0;
  size_t differing = 0, broken = 0;
  const int restarts = context.settings().quick ? 40 : 200;
  for (int i = 0; i < restarts; ++i) {
    if (!context.proceed("restarts", double(i) / restarts)) return error(Code::cancelled, "stopped");
    VIBEE_ASSIGN(const auto session, model.session(o));
    VIBEE_ASSIGN(const auto tier,
                 DiskTier::open({folder.path(), 64 << 20, "checked", "checked", o.context}, &session->pages()));
    HashIndex index(&session->pages());
    index.set_tier(tier.get());
    EngineOptions options;
    options.prefix = &index;
    VIBEE_ASSIGN(const Trial trial, run_trial(*session, options, {&request, 1}));
    differing += trial.tokens[0] != want;
    tier->flush();
    const DiskTierStats stats = tier->stats();
    loaded += stats.loaded;
    bad += stats.log.bad;
    if (i % 2 == 0) continue;  // the broken ones are written anew before the next is broken
    ++broken;
    std::error_code why;
    const uint64_t size = std::filesystem::file_size(file, why);
    if (why) return error(Code::io, "{}: {}", file, why.message());
    if (random.below(4) == 0) {
      std::filesystem::resize_file(file, size - 1 - random.below(uint32_t(session->pages().page_bytes())), why);
    } else {
      std::fstream f(file, std::ios::in | std::ios::out | std::ios::binary);
      const uint64_t at = random.below(uint32_t(size));
      f.seekg(std::streamoff(at));
      const int byte = f.get();
      f.seekp(std::streamoff(at));
      f.put(char(byte ^ 1 << random.below(8)));
    }
  }
  context.equal(
      "answers that depend on what the disk held", double(differing), 0, "",
      fmt::format("{} restarts, {} of them after a flipped bit or a cut, {} pages loaded", restarts, broken, loaded));
  context.at_least("broken records passed over", double(bad), double(broken) / 20);
  context.at_least("pages loaded a restart", double(loaded) / restarts, 3);
  return {};
}

}  // namespace

Status check_prefix_caching(CheckContext& context) {
  for (const char* part :
       {"eviction by frequency, cost and S3-FIFO", "a host tier (on a CPU the host's memory is the cache)",
        "compression of cold pages, and the disk read beside steps",
        "salts made from API keys, quotas and pins (the server's)"})
    context.not_built(part);
  if (context.describe_only()) return {};
  VIBEE_TRY(check_lengths(context));
  VIBEE_TRY(check_pressure(context));
  VIBEE_TRY(check_answers(context));
  return check_disk(context);
}

}  // namespace vibee
