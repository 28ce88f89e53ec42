// SPDX-License-Identifier: Apache-2.0
// A team of threads that run one function together and meet at barriers. Waiting spins for a short while (60 us between
// runs, 150 us at a barrier), then sleeps on a futex: HTTP, copy and progress threads share the cores.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

namespace vibee {

/// A contiguous share of `n` units for thread `tid` of `threads`; shares differ by at most one unit.
struct Range {
  uint32_t begin, end;
};
constexpr Range share(uint32_t n, uint32_t tid, uint32_t threads) {
  return {uint32_t(uint64_t(n) * tid / threads), uint32_t(uint64_t(n) * (tid + 1) / threads)};
}

class Team {
 public:
  /// `threads` including the caller; at least 1.
  explicit Team(uint32_t threads);
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;
  uint32_t size() const { return threads_; }

  /// Runs fn(tid) on every thread, the caller being thread 0, and returns when all are done. Not reentrant. No
  /// allocation.
  template <class F>
  void run(F&& fn) {
    run_erased([](void* f, uint32_t tid) { (*static_cast<std::remove_reference_t<F>*>(f))(tid); },
               const_cast<void*>(static_cast<const void*>(&fn)));
  }
  /// To be called by every thread inside run(): none leaves before all have come; writes before it are seen after it.
  void barrier();

 private:
  using Erased = void (*)(void*, uint32_t);
  void run_erased(Erased fn, void* arg);
  void work(uint32_t tid);

  uint32_t threads_;
  alignas(64) std::atomic<uint32_t> start_{0};    // bumped when there is work
  alignas(64) std::atomic<uint32_t> arrived_{0};  // threads at the current barrier
  alignas(64) std::atomic<uint32_t> phase_{0};    // bumped when all have arrived
  alignas(64) std::atomic<uint32_t> sleepers_{0};
  Erased fn_ = nullptr;
  void* arg_ = nullptr;
  std::atomic<bool> stop_{false};
  std::vector<std::thread> workers_;
};

}  // namespace vibee
