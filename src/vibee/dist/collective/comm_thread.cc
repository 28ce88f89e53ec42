// SPDX-License-Identifier: Apache-2.0
#include "vibee/dist/collective/comm_thread.h"

#include <chrono>

#include "vibee/core/measure/measure.h"

namespace vibee {
namespace {

/// Tags come round; far fewer reductions than this are open at once.
constexpr uint32_t kTags = 1 << 14;
/// A transport is polled this often while there is nothing to do, which is when ranks learn that one is lost.
constexpr auto kIdle = std::chrono::milliseconds(50);
constexpr auto kBusy = std::chrono::microseconds(30);

}  // namespace

CommThread::CommThread(std::unique_ptr<Transport> transport) : transport_(std::move(transport)) {
  thread_ = std::thread([this] { run(); });
}

CommThread::~CommThread() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  work_.notify_one();
  thread_.join();
}

void CommThread::submit(Reduction* reduction) {
  {
    const std::lock_guard lock(mutex_);
    if (!failed_.ok()) return;
    submitted_.push_back({reduction, spans_.size()});
    spans_.push_back({monotonic_seconds(), 0, reduction->bytes()});
    ++open_;
  }
  work_.notify_one();
}

Status CommThread::wait() {
  std::unique_lock lock(mutex_);
  over_.wait(lock, [&] { return open_ == 0 || !failed_.ok(); });
  return failed_;
}

void CommThread::abort(const std::string& why) {
  std::unique_lock lock(mutex_);
  if (!failed_.ok()) return;
  abort_ = why.empty() ? "gave up" : why;
  work_.notify_one();
  over_.wait(lock, [&] { return !failed_.ok(); });
}

std::vector<CommThread::Span> CommThread::take_spans() {
  const std::lock_guard lock(mutex_);
  return std::exchange(spans_, {});
}

void CommThread::run() {
  std::vector<Job> active;
  std::unique_lock lock(mutex_);
  while (true) {
    for (Job& job : submitted_) {
      job.reduction->start(tag_++ % kTags);
      active.push_back(job);
    }
    submitted_.clear();
    if (stop_ && (active.empty() || !failed_.ok())) return;
    if (failed_.ok() && !abort_.empty()) {
      transport_->abort(abort_);
      failed_ = error(Code::cancelled, "{}", abort_);
      over_.notify_all();
    }
    if (!failed_.ok()) {
      active.clear();
      work_.wait(lock, [&] { return stop_; });
      continue;
    }
    lock.unlock();
    Status polled = transport_->poll();
    std::vector<size_t> over;
    if (polled.ok())
      std::erase_if(active, [&](Job& job) {
        if (!job.reduction->advance(*transport_)) return false;
        over.push_back(job.span);
        return true;
      });
    if (polled.ok() && over.empty() && !active.empty()) std::this_thread::sleep_for(kBusy);
    lock.lock();
    for (const size_t span : over) {
      if (span < spans_.size()) spans_[span].end = monotonic_seconds();
      --open_;
    }
    if (!polled.ok()) failed_ = std::move(polled);
    if (!over.empty() || !failed_.ok()) over_.notify_all();
    if (active.empty() && submitted_.empty() && !stop_ && failed_.ok()) work_.wait_for(lock, kIdle);
  }
}

Result<float> sum_over_ranks(CommThread& ranks, float mine) {
  const CommProgram program = direct_all_reduce(ranks.size(), ranks.size());
  Reduction reduction(program, ranks.rank(), 1, {&mine});
  ranks.submit(&reduction);
  VIBEE_TRY(ranks.wait());
  return mine;
}

}  // namespace vibee
