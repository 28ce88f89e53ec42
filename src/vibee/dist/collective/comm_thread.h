// SPDX-License-Identifier: Apache-2.0
// A rank's thread for communication: it moves messages while the others compute, which a library that moves them inside
// calls alone does not do by itself.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

#include "vibee/dist/collective/reduction.h"

namespace vibee {

class CommThread {
 public:
  explicit CommThread(std::unique_ptr<Transport> transport);
  /// Waits for what was submitted, unless the job failed.
  ~CommThread();
  uint32_t rank() const { return transport_->rank(); }
  uint32_t size() const { return transport_->size(); }

  /// Begins a reduction, which outlives it. All ranks submit the same ones in the same order; several go on at once.
  void submit(Reduction* reduction);
  /// Until everything submitted is over. An error says which rank was lost, and holds for good.
  Status wait();
  /// Tells the other ranks that this one gives up, and why.
  void abort(const std::string& why);

  /// When the reductions submitted since the last call ran: seconds of the monotonic clock, in order of submission.
  struct Span {
    double begin, end;
    uint64_t bytes;
  };
  std::vector<Span> take_spans();

 private:
  struct Job {
    Reduction* reduction;
    size_t span;
  };
  void run();
  std::unique_ptr<Transport> transport_;
  std::mutex mutex_;
  std::condition_variable work_, over_;
  std::vector<Job> submitted_;
  size_t open_ = 0;  ///< submitted and not over
  uint32_t tag_ = 0;
  Status failed_;
  std::string abort_;
  std::vector<Span> spans_;
  bool stop_ = false;
  std::thread thread_;
};

/// The sum of a number of every rank, the same bytes on all.
Result<float> sum_over_ranks(CommThread& ranks, float mine);

}  // namespace vibee
