// SPDX-License-Identifier: Apache-2.0
#include <chrono>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include "vibee/graph/exec/plan.h"

namespace vibee {
namespace {

uint64_t now_ns() {
  return uint64_t(
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
          .count());
}

/// Rounding to nearest, subnormals kept: set for the length of a plan and put back, so a host program's settings cannot
/// change bytes.
class FloatEnvironment {
 public:
#if defined(__x86_64__)
  FloatEnvironment() : saved_(_mm_getcsr()) { _mm_setcsr(0x1f80); }
  ~FloatEnvironment() { _mm_setcsr(saved_); }

 private:
  unsigned saved_;
#else
  FloatEnvironment() {}
#endif
};

}  // namespace

void Plan::enable_profile() {
  times_.assign(calls_.size() * options_.threads, {});
  events_.clear();
  events_.reserve(1u << 16);
  profile_origin_ = now_ns();
}

void Plan::work(Worker& w) {
  const FloatEnvironment environment;
  const bool timed = !times_.empty();
  for (size_t c = 0; c < calls_.size(); ++c) {
    const Call& call = calls_[c];
    if (!timed) {
      if (w.small ? call.barrier_small : call.barrier_large) w.team.barrier();
      call.run(call, w);
      continue;
    }
    const uint64_t before = now_ns();
    if (w.small ? call.barrier_small : call.barrier_large) w.team.barrier();
    const uint64_t begin = now_ns();
    call.run(call, w);
    const uint64_t end = now_ns();
    CallTime& t = times_[c * options_.threads + w.tid];
    t.wait += begin - before;
    t.work += end - begin;
    ++t.calls;
    if (w.tid == 0 && events_.size() < events_.capacity())
      events_.push_back({uint32_t(c), w.tid, begin - profile_origin_, end - profile_origin_});
  }
}

void Plan::run(Team& team, const RaggedBatch& batch, std::span<const KvView> kv) {
  VIBEE_CHECK(team.size() == options_.threads, "team {} plan {}", team.size(), options_.threads);
  const auto t = uint32_t(batch.tokens.size());
  const auto s = uint32_t(batch.logits_rows.size());
  VIBEE_CHECK(t > 0 && t <= options_.max_rows && s <= options_.max_logits, "rows {} logits {}", t, s);
  const WorkOptions division{options_.balance_attention, options_.cut_keys,
                             options_.cascade ? Cascade::automatic : Cascade::off};
  for (WorkList& list : takes_bf16(t) && !many_lists_.empty() ? many_lists_ : work_lists_)
    list.plan(batch.sequences, division);
  const auto body = [&](uint32_t tid) {
    Worker worker{*this, batch, kv, team, tid, options_.threads, Sizes{t, s}, t <= kReplicatedRows};
    work(worker);
  };
  team.run(body);
}

}  // namespace vibee
