// SPDX-License-Identifier: Apache-2.0
#include "vibee/base/thread/team.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>
#include <climits>

#include "vibee/base/status/status.h"

namespace vibee {
namespace {

/// Between plans a worker gives its core up soon: HTTP, copy and progress threads share it. From one step of a row to
/// the next are 20 to 50 us, though, and a sleep costs the next step its wake-up.
constexpr auto kIdleSpin = std::chrono::microseconds(60);
/// At a barrier inside a plan the others are microseconds away; a sleep and its wake-up cost some 25 us here, at each
/// of about five barriers a layer. Measured on a 5-layer model of width 64: 124 us a layer with 20 us of spinning, 1.3
/// to 4.4 us with 100 us.
constexpr auto kBarrierSpin = std::chrono::microseconds(150);

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

void futex_wait(std::atomic<uint32_t>* word, uint32_t seen) {
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(word), FUTEX_WAIT_PRIVATE, seen, nullptr, nullptr, 0);
}
void futex_wake_all(std::atomic<uint32_t>* word) {
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(word), FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

/// Returns once *word != seen.
void wait_change(std::atomic<uint32_t>* word, uint32_t seen, std::atomic<uint32_t>* sleepers,
                 std::chrono::microseconds spin) {
  const auto begin = std::chrono::steady_clock::now();
  for (;;) {
    for (int i = 0; i < 64; ++i) {
      if (word->load(std::memory_order_acquire) != seen) return;
      relax();
    }
    if (std::chrono::steady_clock::now() - begin > spin) break;
  }
  sleepers->fetch_add(1, std::memory_order_seq_cst);
  while (word->load(std::memory_order_seq_cst) == seen) futex_wait(word, seen);
  sleepers->fetch_sub(1, std::memory_order_relaxed);
}

void bump(std::atomic<uint32_t>* word, std::atomic<uint32_t>* sleepers) {
  word->fetch_add(1, std::memory_order_seq_cst);
  if (sleepers->load(std::memory_order_seq_cst) != 0) futex_wake_all(word);
}

}  // namespace

Team::Team(uint32_t threads) : threads_(threads) {
  VIBEE_CHECK(threads >= 1);
  for (uint32_t tid = 1; tid < threads; ++tid) workers_.emplace_back([this, tid] { work(tid); });
}

Team::~Team() {
  stop_.store(true, std::memory_order_release);
  bump(&start_, &sleepers_);
  for (std::thread& worker : workers_) worker.join();
}

void Team::run_erased(Erased fn, void* arg) {
  if (threads_ == 1) return fn(arg, 0);
  fn_ = fn;
  arg_ = arg;
  bump(&start_, &sleepers_);
  fn(arg, 0);
  barrier();
}

void Team::work(uint32_t tid) {
  uint32_t seen = 0;
  for (;;) {
    wait_change(&start_, seen, &sleepers_, kIdleSpin);
    ++seen;
    if (stop_.load(std::memory_order_acquire)) return;
    fn_(arg_, tid);
    barrier();
  }
}

void Team::barrier() {
  if (threads_ == 1) return;
  const uint32_t phase = phase_.load(std::memory_order_acquire);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == threads_) {
    arrived_.store(0, std::memory_order_relaxed);
    bump(&phase_, &sleepers_);
  } else {
    wait_change(&phase_, phase, &sleepers_, kBarrierSpin);
  }
}

}  // namespace vibee
